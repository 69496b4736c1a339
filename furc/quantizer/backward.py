"""Reverse mode as a graph: beside a float model, the nodes that compute gradients of its outputs.

    before: y = Conv(x, w)        after: and x/gradient = ConvTranspose(y/gradient, w)

Only gradients of activations are made, never of weights, and ONNX Runtime runs them: a probe of the whole model costs
about as much as two inferences. gradient_rules.py has the operators. Where an operator has no rule, a result of the
same shape passes its gradient on and any other ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from furc.quantizer.graph import Array, Graph, Node, make

OPSET = 16  # the first whose ScatterElements adds
OLDEST = 13  # what is older has other forms of Squeeze and Split


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


def gradients(graph: Graph, seeds: Sequence[str], wanted: Sequence[str]) -> tuple[Graph, dict[str, str]]:
    """A copy that also computes gradients of sum(seed * tensor) over the tensors `seeds`, and their names by tensor.

    The seeds become inputs, `{tensor}/seed`. Tensors of `wanted` that no seed depends on are left out.
    """
    from furc.quantizer.gradient_rules import RULES

    copy = Graph(graph.model())
    tape = Tape(copy)
    for name in seeds:
        tape.made[name] = [f"{name}/seed"]
        copy.set_info(helper.make_tensor_value_info(f"{name}/seed", TensorProto.FLOAT, copy.shape(name)))
        copy.inputs.append(f"{name}/seed")
    for node in reversed(list(copy.nodes)):
        gradient = tape.gradient(node.output)
        if node.op == "Split":
            _split(tape, node)
        elif gradient is not None:
            _step(tape, node, gradient, RULES.get(node.op))
    found = {name: gradient for name in wanted if (gradient := tape.gradient(name)) is not None}
    copy.nodes += tape.new
    copy.changed()
    return copy, found


def _step(tape: Tape, node: Node, gradient: str, rule: Rule | None) -> None:
    before = len(tape.new)
    try:
        if rule is not None:
            return rule(tape, node, gradient)
        if tape.shape(node.output) == tape.shape(node.input(0)):
            tape.give(node.input(0), gradient)
    except LookupError:  # a shape that is not known, or a form of the operator that the rule does not cover
        del tape.new[before:]


def _split(tape: Tape, node: Node) -> None:
    """The only operator with several results of interest: where one has no gradient, zeros stand in."""
    if not any(name in tape.made for name in node.outputs) or any(tape.graph.shape(n) is None for n in node.outputs):
        return
    parts = []
    for name in node.outputs:
        zeros = (tape.graph.shape(name) or ()) if name not in tape.made else ()
        parts.append(tape.gradient(name) or tape.constant(np.zeros(zeros, np.float32)))
    tape.give(node.input(0), tape.op("Concat", *parts, axis=int(node.get("axis", 0))))
