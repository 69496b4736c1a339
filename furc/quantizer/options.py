"""What a quantization can be asked for, in one value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, get_args

from furc.onnx.files import NEWEST_OPSET, OLDEST_OPSET
from furc.quantizer.observe.judge import Task
from furc.quantizer.ranges.method import AUTO, WEIGHTED, method_named
from isa.errors import QuantizeError

Form = Literal["qdq", "calibrated"]
InputDtype = Literal["float32", "uint8", "int8"]
SWITCHES = ("equalize", "split", "bias_correction", "adaround")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """Options of one quantization. docs/accuracy.md says what each gains and costs.

    method: a CalibrationMethod, "weighted" or "auto". percentage: of PERCENTILE methods. budget: of "auto", in float
    inferences of all samples (`ranges/budget.py`). split: compute channels in groups where that pays. task: what stands
    behind the outputs (`observe/judge.py`). keep_float: layers that stay in float on the host (`noise/keep_float.py`).
    form: QDQ ONNX, or the float model with ranges in its metadata. input_dtype: of every image input of the result.
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
        for option in SWITCHES:
            if not isinstance(value := getattr(self, option), bool):  # "false" is true to an if
                raise QuantizeError("BadOption", f"{option} is {value!r}", hint="True or False")
        if not isinstance(self.budget, Real) or not 0 <= self.budget < math.inf:
            raise QuantizeError("BadOption", f"budget is {self.budget!r}", hint="a number from 0 on")
        if not isinstance(self.opset, int) or not OLDEST_OPSET <= self.opset <= NEWEST_OPSET:
            raise QuantizeError("BadOption", f"opset is {self.opset!r}", hint=f"{OLDEST_OPSET} to {NEWEST_OPSET}")
        if not isinstance(self.percentage, Real) or not 0 < self.percentage <= 100:
            raise QuantizeError("BadPercentage", f"percentage is {self.percentage}, it must be above 0 and at most 100")
        _one_of("task", self.task, tuple(Task))
        _one_of("form", self.form, get_args(Form))
        _one_of("input_dtype", self.input_dtype, get_args(InputDtype))
        if isinstance(self.keep_float, str):
            what = f"keep_float is the text '{self.keep_float}', not a tuple of names"
            raise QuantizeError("BadOption", what, hint="write keep_float=(NAME, ...), with the comma")


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    """Raises QuantizeError[BadOption]."""
    if value not in known:
        raise QuantizeError("BadOption", f"{option} is '{value}'", hint=f"one of {', '.join(known)}")
