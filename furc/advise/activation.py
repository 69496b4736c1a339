"""Activation functions that the NPU does not take: the same function in operators that it has, or another function.

HardSwish(x) -> x * Clip(x / 6 + 1 / 2, 0, 1); LeakyRelu(x) -> Max(x, a * x); Tanh(x) -> 2 * Sigmoid(2 x) - 1. SiLU
needs nothing: x * Sigmoid(x) is one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.advise.surgery import signed
from furc.check import Where
from furc.onnx.graph import Array, Graph, Node, make

KIND = "activation"
OLDEST = 11  # the opset since which bounds of Clip are inputs
SAME, NEAR = "the same function", "off by at most 0.021"
HOW = "--apply"


@dataclass
class Writer:
    """Nodes in place of one. The last one makes its result."""

    graph: Graph
    node: Node
    made: list[Node] = field(default_factory=list)

    @property
    def x(self) -> str:
        return self.node.inputs[0]

    def add(self, op: str, *inputs: str) -> str:
        name = self.graph.fresh(f"{self.node.output}/{op.lower()}{len(self.made)}")
        self.made.append(make(op, inputs, [name], f"{self.node.name or self.node.output}/{op}{len(self.made)}"))
        return name

    def number(self, value: float | Array) -> str:
        return self.graph.add_constant(f"{self.node.output}/number", np.asarray(value, np.float32))

    def replace(self) -> None:
        self.made[-1].outputs = [self.node.output]
        self.graph.insert_before(self.node, self.made)
        self.graph.remove([self.node])


Rewrite = Callable[[Writer], bool]  # False where it does not suit this node


def _hard_sigmoid(w: Writer) -> bool:
    _clipped_line(w, float(w.node.get("alpha", 0.2)), float(w.node.get("beta", 0.5)))
    return True


def _hard_swish(w: Writer) -> bool:
    w.add("Mul", w.x, _clipped_line(w, 1 / 6, 0.5))
    return True


def _clipped_line(w: Writer, slope: float, offset: float) -> str:
    line = w.add("Add", w.add("Mul", w.x, w.number(slope)), w.number(offset))
    return w.add("Clip", line, w.number(0.0), w.number(1.0))


def _leaky_relu(w: Writer) -> bool:
    slope = float(w.node.get("alpha", 0.01))
    w.add("Max", w.x, w.add("Mul", w.x, w.number(slope)))
    return 0 <= slope <= 1


def _prelu(w: Writer) -> bool:
    slope = w.graph.constants.get(w.node.input(1))
    if slope is None or slope.min() < 0 or slope.max() > 1:
        return False
    w.add("Max", w.x, w.add("Mul", w.x, w.node.inputs[1]))
    return True


def _tanh(w: Writer) -> bool:
    half = w.add("Sigmoid", w.add("Mul", w.x, w.number(2.0)))
    w.add("Add", w.add("Mul", half, w.number(2.0)), w.number(-1.0))
    return True


def _elu(w: Writer) -> bool:
    scale = float(w.node.get("alpha", 1.0))
    below = w.add("Exp", w.add("Clip", w.x, "", w.number(0.0)))
    line = w.add("Add", w.add("Mul", below, w.number(scale)), w.number(-scale))
    w.add("Add", w.add("Relu", w.x), line)
    return True


def _gelu(w: Writer) -> bool:
    w.add("Mul", w.x, w.add("Sigmoid", w.add("Mul", w.x, w.number(1.702))))
    return True


def _relu(w: Writer) -> bool:
    w.add("Relu", w.x)
    return True


# operator -> how it is written otherwise, the new form in words, what that is to the old one
REWRITES: dict[str, tuple[Rewrite, str, str]] = {
    "HardSigmoid": (_hard_sigmoid, "Clip(a * x + b, 0, 1)", SAME),
    "HardSwish": (_hard_swish, "x * Clip(x / 6 + 1 / 2, 0, 1)", SAME),
    "LeakyRelu": (_leaky_relu, "Max(x, a * x)", SAME),
    "PRelu": (_prelu, "Max(x, a * x)", SAME),
    "Tanh": (_tanh, "2 * Sigmoid(2 * x) - 1", SAME),
    "Elu": (_elu, "Relu(x) + a * Exp(Clip(x, , 0)) - a", SAME),
    "Gelu": (_gelu, "x * Sigmoid(1.702 * x)", NEAR),
}
OTHERS = ("HardSwish", "LeakyRelu", "PRelu", "Elu", "Gelu", "Selu", "Celu", "Mish", "ThresholdedRelu")  # to Relu


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    """Of every such function on the host, first as itself, then as Relu."""
    if not subject.is_float or subject.graph.opset < OLDEST:
        return
    left = {j.node: j for j in subject.report.of(Where.HOST) if not j.possible}
    there = [node for node in subject.graph.nodes if subject.name_of(node) in left]
    for op in dict.fromkeys(node.op for node in there):
        nodes = [node for node in there if node.op == op]
        why = f"{len(nodes)} x {op} on the host: {left[subject.name_of(nodes[0])].reason}"
        if op in REWRITES:
            rewrite, form, likeness = REWRITES[op]
            model = rewritten(subject.graph, {node.output for node in nodes}, rewrite)
            if model is not None:
                change = Change(model=model, how=HOW)
                yield Draft(kind=KIND, title=f"{op} as {form}, {likeness}", why=why, change=change)
        if op in OTHERS:
            model = rewritten(subject.graph, {node.output for node in nodes}, _relu)
            if model is not None:
                title = f"Relu in place of {op}, and train again"
                yield Draft(kind=KIND, title=title, why=why, change=Change(model=model, how=HOW), retrain=True)


def rewritten(graph: Graph, results: set[str], rewrite: Rewrite) -> onnx.ModelProto | None:
    """The model with the nodes that make these results written otherwise; None where that suits none of them."""
    copy, count = graph.copied(), 0
    for node in [node for node in copy.nodes if node.output in results]:
        writer = Writer(copy, node)
        if rewrite(writer):
            writer.replace()
            count += 1
    copy.remove_dead()
    return signed(copy.model()) if count else None
