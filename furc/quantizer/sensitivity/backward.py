"""Reverse mode as a graph: beside a float model, the nodes that compute gradients of its outputs.

    before: y = Conv(x, w)        after: and x/gradient = ConvTranspose(y/gradient, w)

Only gradients of activations are made, never of weights, and ONNX Runtime runs them: a probe of the whole model costs
about as much as two inferences. gradient_rules.py has the operators. Where an operator has no rule, a result of the
same shape passes its gradient on and any other ends it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from furc.onnx.graph import Graph, Node
from furc.quantizer.sensitivity.gradient_rules import RULES
from furc.quantizer.sensitivity.tape import Rule, Tape

OPSET = 16  # the first whose ScatterElements adds
OLDEST = 13  # what is older has other forms of Squeeze and Split


def gradients(graph: Graph, seeds: Sequence[str], wanted: Sequence[str]) -> tuple[Graph, dict[str, str]]:
    """A copy that also computes gradients of sum(seed * tensor) over the tensors `seeds`, and their names by tensor.

    The seeds become inputs, `{tensor}/seed`. Tensors of `wanted` that no seed depends on are left out.
    """
    copy = graph.copied()
    tape = Tape(copy)
    for name in seeds:
        tape.made[name] = [f"{name}/seed"]
        copy.set_float(f"{name}/seed", copy.shape(name))
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
