"""A compiled model: its records, its file, and what must hold of it (docs/enf.md)."""

from isa.enf.container import COMPILE_AGAIN
from isa.enf.file import MAGIC, VERSION, load, read, save, write
from isa.enf.model import (
    OPEN,
    DramTensor,
    Enf,
    HostOperator,
    HostStep,
    ModelTensor,
    NpuStep,
    Operator,
    Segment,
    Step,
)
from isa.enf.rules import DTYPES, MAX_RANK, check_compatible, is_for_target, made_for

__all__ = [
    "COMPILE_AGAIN",
    "DTYPES",
    "MAGIC",
    "MAX_RANK",
    "OPEN",
    "VERSION",
    "DramTensor",
    "Enf",
    "HostOperator",
    "HostStep",
    "ModelTensor",
    "NpuStep",
    "Operator",
    "Segment",
    "Step",
    "check_compatible",
    "is_for_target",
    "load",
    "made_for",
    "read",
    "save",
    "write",
]
