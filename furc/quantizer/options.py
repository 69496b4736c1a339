"""What a quantization can be asked for, in one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from furc.quantizer.judge import Task
from furc.quantizer.method import AUTO, WEIGHTED, method_named
from isa.errors import QuantizeError

Form = Literal["qdq", "calibrated"]
InputDtype = Literal["float32", "uint8", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """Options of one quantization. docs/accuracy.md says what each gains and costs.

    method: a CalibrationMethod, "weighted" or "auto". percentage: of PERCENTILE methods. budget: of "auto", in float
    inferences of all samples, see budget.py. split: compute channels in groups where that pays. task: what stands
    behind the outputs, see judge.py. keep_float: layers that stay in float on the host, see keep_float.py. form: QDQ
    ONNX, or the float model with ranges in its metadata. input_dtype: of every image input of the result.
    input_shapes: of inputs left open.
    """

    method: str = WEIGHTED
    percentage: float = 99.99
    budget: float = 10.0
    equalize: bool = True
    split: bool = True
    task: Task = Task.AUTO
    bias_correction: bool = True
    adaround: bool = False
    keep_float: tuple[str, ...] = ()
    form: Form = "qdq"
    input_dtype: InputDtype = "float32"
    opset: int = 13
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in (AUTO, WEIGHTED):
            method_named(self.method)
        if not 0 < self.percentage <= 100:
            raise QuantizeError("BadPercentage", f"percentage is {self.percentage}, it must be above 0 and at most 100")
