"""A graph that grows by nodes which compute gradients: backward.py walks it, gradient_rules.py has the operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from furc.onnx.graph import Array, Graph, Node, make


@dataclass
class Tape:
    """Grows a graph by gradient nodes. made: of each tensor, the gradients that its readers contribute."""

    graph: Graph
    made: dict[str, list[str]] = field(default_factory=dict)
    new: list[Node] = field(default_factory=list)

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and name its result."""
        name = f"{op}/backward{len(self.new)}"
        self.new.append(make(op, inputs, [name], **attributes))
        return name

    def constant(self, value: Array) -> str:
        name = f"backward/constant{len(self.graph.constants)}"
        self.graph.constants[name] = value
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def shape(self, name: str) -> tuple[int, ...]:
        """Extents of a tensor. Raises LookupError where they are not known: then no rule applies."""
        found = self.graph.shape(name)
        if found is None:
            raise LookupError(name)
        return found

    def give(self, name: str, gradient: str) -> None:
        """Contribute to the gradient of an activation."""
        if name and name not in self.graph.constants and self.graph.is_float(name):
            self.made.setdefault(name, []).append(gradient)

    def gradient(self, name: str) -> str | None:
        """The sum of what readers contributed; None where nothing depends on the tensor."""
        parts = self.made.get(name)
        if not parts:
            return None
        while len(parts) > 1:
            parts[:2] = [self.op("Add", parts[0], parts[1])]
        return parts[0]

    def reduced(self, gradient: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
        """A gradient summed over the axes along which an operand was broadcast."""
        if shape == wanted:
            return gradient
        padded = (1,) * (len(shape) - len(wanted)) + wanted
        axes = [axis for axis, (have, want) in enumerate(zip(shape, padded, strict=True)) if have != want]
        summed = self.op("ReduceSum", gradient, self.integers(axes), keepdims=1) if axes else gradient
        return self.op("Reshape", summed, self.integers(wanted)) if padded != wanted else summed


Rule = Callable[[Tape, Node, str], None]  # of a node and the gradient of its first result
