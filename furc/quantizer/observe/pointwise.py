"""What becomes of a tensor: the function of one number through which alone the rest of the model sees it.

    u -> Sigmoid -> Mul(u, .) -> a       sees u through x * sigmoid(x)
    u -> Tanh -> a                       sees u through tanh(x)

An error in u matters as much as it moves a. Where the function is flat, as SiLU is far below 0, it does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node
from furc.quantizer.observe.float_run import NodeRun

Float64 = NDArray[np.float64]
UNARY = {
    "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Elu", "Selu", "Celu", "Mish", "Gelu", "Erf",
    "Relu", "Clip", "LeakyRelu", "Exp", "Abs",
}  # fmt: skip


@dataclass(frozen=True)
class Behind:
    """result: the tensor behind the function, which `nodes` compute."""

    graph: Graph
    nodes: tuple[Node, ...]

    @property
    def result(self) -> str:
        return self.nodes[-1].output

    def __call__(self, values: Float64, /) -> Float64:
        """The function of an array of numbers."""
        x = values.astype(np.float32)
        first = self._first(x)
        gated = first if len(self.nodes) == 1 else x * first
        return np.asarray(gated, np.float64)

    @cached_property
    def _first(self) -> NodeRun:
        return NodeRun(self.graph, self.nodes[0])

    def live_range(self, low: float, high: float, tolerance: float) -> tuple[float, float]:
        """The part of [low, high] beyond which the function moves by less than the tolerance."""
        if not low < high:
            return low, high
        x = np.unique(
            np.concatenate([np.linspace(low, high, POINTS), np.linspace(max(low, -REACH), min(high, REACH), POINTS)])
        )
        y = self(x)
        from_left = np.abs(y - y[0]) <= tolerance
        from_right = np.abs(y - y[-1]) <= tolerance
        first = int(np.argmin(np.logical_and.accumulate(from_left)))
        last = int(np.argmin(np.logical_and.accumulate(from_right[::-1])))
        return float(x[max(first - 1, 0)]), float(x[len(x) - 1 - max(last - 1, 0)])


POINTS = 256
REACH = 12.0  # where activation functions have their bend


def behind(graph: Graph, name: str) -> Behind | None:
    """What stands behind a tensor: one function of it, or its product with one; None for anything else."""
    if name in graph.outputs:
        return None
    readers = graph.readers(name)
    gates = [node for node in readers if _is_function(graph, node)]
    if len(gates) != 1:
        return None
    gate = gates[0]
    if len(readers) == 1:
        return Behind(graph, (gate,))
    product = graph.only_reader(gate.output)
    if len(readers) == 2 and product is not None and product.op == "Mul" and product in readers:
        return Behind(graph, (gate, product))
    return None


def _is_function(graph: Graph, node: Node) -> bool:
    constant = all(not name or name in graph.constants for name in node.inputs[1:])
    return node.domain in ("", "ai.onnx") and node.op in UNARY and constant
