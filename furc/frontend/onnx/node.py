"""One ONNX node as the operator families see it: typed attributes and inputs, refusals that name it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper

from furc.onnx.soundness import node_name
from isa.errors import Loc, LowerError, SourceError, counted


@dataclass(frozen=True)
class Node:
    """A node of the model, its number, and the opset its operator is read by."""

    proto: onnx.NodeProto
    index: int
    source: str
    opset: int

    @cached_property
    def op(self) -> str:
        return str(self.proto.op_type)

    @cached_property
    def name(self) -> str:
        """As messages and profiles call it."""
        return node_name(self.proto, self.index)

    @property
    def loc(self) -> Loc:
        return Loc(self.source, (self.name,))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.proto.input)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.proto.output)

    @property
    def output(self) -> str:
        return str(self.proto.output[0])

    def has_input(self, index: int) -> bool:
        return index < len(self.proto.input) and self.proto.input[index] != ""

    def attribute(self, name: str) -> Any:
        """The attribute as a Python object, None where the node has none of this name."""
        found = next((a for a in self.proto.attribute if a.name == name), None)
        return None if found is None else helper.get_attribute_value(found)

    def integer(self, name: str, default: int) -> int:
        value = self.attribute(name)
        return default if value is None else int(value)

    def number(self, name: str, default: float) -> float:
        value = self.attribute(name)
        return default if value is None else float(value)

    def text(self, name: str, default: str) -> str:
        value = self.attribute(name)
        return default if value is None else bytes(value).decode("utf-8", "replace")

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """As many as the default has, where that is not empty. Raises SourceError InvalidGraph."""
        value = self.attribute(name)
        result = list(default) if value is None else [int(v) for v in np.atleast_1d(value)]
        if len(default) and len(result) != len(default):
            raise self.invalid(f"{name} has {counted(len(result), 'value')}, expected {len(default)}")
        return result

    def invalid(self, message: str) -> SourceError:
        """What the node says contradicts itself or its inputs."""
        hint = "check the model with onnx.checker.check_model(path, full_check=True)"
        return SourceError("InvalidGraph", f"{self.op}: {message}", at=self.loc, hint=hint)

    def unsupported(self, message: str, hint: str = "") -> LowerError:
        """The operator, or this use of it, cannot run on the NPU."""
        return LowerError("UnsupportedOperator", message, at=self.loc, hint=hint or CUT)

    def unquantized(self, message: str, hint: str = "") -> LowerError:
        """A float tensor where the NPU needs int8."""
        return LowerError("UnquantizedTensor", message, at=self.loc, hint=hint or QUANTIZE)


CUT = "replace it by operators of the NPU, or cut the model before this node"
QUANTIZE = (
    "put a QuantizeLinear and DequantizeLinear pair on it, as furc quantize does: "
    "furc quantize MODEL -o OUT --calibration-data DIR"
)
