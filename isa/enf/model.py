"""What a compiled model is: steps for the host and the NPU, the DRAM image they share, and names for people.

docs/enf.md prints these records.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from isa.errors import counted
from isa.layout import LayoutKind, Shape4

OPEN = -1  # an extent that is known only when the host has run
MOST_SHOWN = 12  # lines of a repr that grow with the model


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """An input or output of the model as the user sees it. dtype: NumPy's name; shape: any rank.

    -1 in the shape of an output: an extent that only a run tells, such as how many boxes are left."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DramTensor:
    """An int8 tensor at the edge of an NPU step: its host name, DRAM address, order and shape."""

    name: str
    address: int
    order: LayoutKind
    shape: Shape4


@dataclass(frozen=True, slots=True)
class Segment:
    """Encoded instructions: where they lie in DRAM and where in instruction memory they run."""

    address: int
    bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class Operator:
    """A low-level operator of an NPU step, for profiles and messages."""

    name: str  # LowLevelConv2d
    nodes: tuple[str, ...]  # ONNX nodes it came from
    shape: tuple[int, ...]  # of its result


@dataclass(frozen=True, slots=True)
class HostOperator:
    """An operator of a host step, for profiles and messages.

    name: Quantize, Dequantize, Recast (uint8 to int8 or back), Lower or Unlower (int8 in another order of axes), or an
    ONNX operator type. tensor: the model's name of what it works on; shape: of that, with OPEN where only a run tells.
    reason: why it is on the host; remedy: what the user can do about it, or "". bytes, macs: what it reads and writes,
    and multiplies, in one run of the model; an open extent counts as one.
    """

    name: str
    nodes: tuple[str, ...]
    tensor: str
    shape: tuple[int, ...]
    reason: str
    remedy: str
    bytes: int
    macs: int


@dataclass(frozen=True, slots=True)
class HostStep:
    """An ONNX model that ONNX Runtime runs on the host.

    It is run `images` times, on consecutive slices along axis 0 of every input; results are joined along axis 0. With
    images = 1 it is run once, on everything. A step of nothing but Quantize, Dequantize, Recast, Lower and Unlower
    has its operators in the order of its outputs.
    """

    name: str
    model: bytes
    images: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[HostOperator, ...]


@dataclass(frozen=True, slots=True)
class NpuStep:
    """A program. The host writes `inputs` into DRAM before it starts and reads `outputs` after it ends.

    The first segment is put into instruction memory when the step starts. operator_of: one entry an executed
    instruction, in execution order, an index into the operators of the model or -1.
    """

    inputs: tuple[DramTensor, ...]
    outputs: tuple[DramTensor, ...]
    segments: tuple[Segment, ...]
    operator_of: tuple[int, ...]


Step: TypeAlias = HostStep | NpuStep


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Enf:
    """A compiled model. steps: run one after another.

    model_name: what messages call it. target: the name of the machine it is for; fingerprint: 12 hexadecimal digits
    of the SHA-256 of all constants of that machine. batch: images in one run. sram_peak_bytes: most SRAM in use at
    once, over all slices. operators: of all NPU steps.

    pixels: how images became the inputs that the model was calibrated on, as options of `furc run`; "" where nobody
    noted it. Nothing that runs the model reads it.

    image: DRAM from address 0, constants and encoded segments; activations follow up to dram_bytes. All NPU steps
    share one machine: SRAM, DRAM and registers keep what they hold between the steps of a run.
    """

    model_name: str
    furc_version: str
    target: str
    fingerprint: str
    batch: int
    inputs: tuple[ModelTensor, ...]
    outputs: tuple[ModelTensor, ...]
    steps: tuple[HostStep | NpuStep, ...]
    image: bytes
    dram_bytes: int
    sram_peak_bytes: int
    operators: tuple[Operator, ...]
    pixels: str = ""

    @property
    def npu_steps(self) -> tuple[NpuStep, ...]:
        """In the order they run."""
        return tuple(step for step in self.steps if isinstance(step, NpuStep))

    @property
    def host_steps(self) -> tuple[HostStep, ...]:
        """In the order they run."""
        return tuple(step for step in self.steps if isinstance(step, HostStep))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Of all NPU steps."""
        return tuple(segment for step in self.npu_steps for segment in step.segments)

    def save(self, path: Path | str) -> None:
        """Write the file. Raises EnfError."""
        from isa.enf.file import save  # here: it needs these records

        save(self, path)

    def __repr__(self) -> str:
        from isa.enf.rules import made_for  # here: as above

        lines = [f"<Enf '{self.model_name}' for {made_for(self)}, batch {self.batch}"]
        lines += [f"  {side} {_list(t)}" for side, t in (("takes", self.inputs), ("gives", self.outputs)) if t]
        lines += [f"  step {i}: {_step(step)}" for i, step in enumerate(self.steps[:MOST_SHOWN])]
        if len(self.steps) > MOST_SHOWN:
            lines.append(f"  and {counted(len(self.steps) - MOST_SHOWN, 'more step')}")
        image, used = len(self.image), f"DRAM {self.dram_bytes} B, SRAM {self.sram_peak_bytes} B"
        return "\n".join([*lines, f"  image {image} B, {used}, {counted(len(self.operators), 'operator')}>"])


def _list(tensors: tuple[ModelTensor, ...]) -> str:
    shown = ", ".join(f"'{t.name}' {t.dtype}{list(t.shape)}" for t in tensors[:4])
    return f"{shown}, and {len(tensors) - 4} more" if len(tensors) > 4 else shown


def _step(step: HostStep | NpuStep) -> str:
    if isinstance(step, NpuStep):
        return f"NPU, {counted(len(step.operator_of), 'instruction')} of {sum(s.bytes for s in step.segments)} B"
    names = list(dict.fromkeys(operator.name for operator in step.operators))
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"host '{step.name}', {', '.join(names[:4])}{rest}"
