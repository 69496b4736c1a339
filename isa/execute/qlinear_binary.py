"""Sums, products and comparisons of two tensors on ONNX Runtime, where a kernel equals the reference on all 65,536
pairs of values.

QLinearAdd and QLinearMul are ten times as fast as arithmetic in float32, but round otherwise here and there: for most
scales nowhere, for some in one pair, a tie that rounding errors decide. There a sum whose scales are an ulp or two off
mostly gives what the reference gives, for all pairs. Where none does, Q and DQ around the float operator are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product

import numpy as np

from isa import ort
from isa.execute import numerics
from isa.execute.kernel_form import plus_128
from isa.execute.kernel_graph import KernelGraph
from isa.execute.numerics import BinaryKind, BinaryScales
from isa.execute.simple_part import SimplePart
from isa.instructions.elementwise import Binary

QLINEAR = {"add": "QLinearAdd", "mul": "QLinearMul"}
FLOAT = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
# All pairs at once; then some, from all over, in runs that end between vectors: kernels treat such ends on their own.
RUNS = (slice(None), *(slice(tail, None, 65_536 // tail) for tail in range(1, 64, 6)))
# What is tried on the scales of both operands of a sum, the least first.
_OFF = (0, 1, -1, 2, -2)
ULPS = sorted(product(_OFF, _OFF), key=lambda ulps: abs(ulps[0]) + abs(ulps[1]))[1:]

Emit = Callable[[KernelGraph, BinaryKind, BinaryScales, str, str], str]


class BinaryPart(SimplePart):
    """One instruction, and the nodes that are exact for it."""

    def __init__(self, instruction: Binary, nodes: Emit) -> None:
        super().__init__(instruction, (instruction.a, instruction.b), instruction.y)
        self.instruction, self.nodes = instruction, nodes

    def emit(self, graph: KernelGraph, xs: Sequence[str]) -> str:
        insn = self.instruction
        a, b = (self._spread(graph, x, insn.y.shape == w.shape) for x, w in zip(xs, (insn.a, insn.b), strict=True))
        return graph.clip(self.nodes(graph, insn.kind, insn.scales, a, b), insn.lo, insn.hi)

    def _spread(self, graph: KernelGraph, x: str, is_spread: bool) -> str:
        """An operand of the extents of the result: kernels that repeat axes might round otherwise."""
        if is_spread:
            return x
        n, c, h, w = self.instruction.y.shape
        return graph.add("Expand", [x, graph.constant(np.array([n, h, w, c]))])


def prepare(instruction: Binary) -> BinaryPart | None:
    """None where no kernel is exact."""
    scales = replace(instruction.scales, lo=numerics.INT8_LOW, hi=numerics.INT8_HIGH)
    nodes = _exact(instruction.kind, scales)
    return BinaryPart(instruction, nodes) if nodes is not None else None


@cache
def _exact(kind: BinaryKind, scales: BinaryScales) -> Emit | None:
    """The fastest nodes that give what the reference gives, for all pairs of values."""
    a, b = (side.astype(np.int8).reshape(1, 1, 1, -1) for side in np.indices((256, 256)) - 128)
    with np.errstate(all="ignore"):  # scales of hostile files
        expected = plus_128(numerics.binary(kind, a, b, scales))
    pairs = [plus_128(side) for side in (a, b)]
    for nodes in _candidates(kind):
        graph = KernelGraph()
        with np.errstate(all="ignore"):
            kernels = graph.session([nodes(graph, kind, scales, graph.input(), graph.input())])
        if all(np.array_equal(kernels.run([side[..., at] for side in pairs])[0], expected[..., at]) for at in RUNS):
            return nodes
    return None


def _candidates(kind: BinaryKind) -> Iterator[Emit]:
    if kind in QLINEAR:
        yield _integer
    if kind == "add":
        yield from (partial(_shifted_sum, ulps) for ulps in ULPS)
    yield _in_float


def _shifted_sum(ulps: tuple[int, int], graph: KernelGraph, kind: BinaryKind, s: BinaryScales, a: str, b: str) -> str:
    """The sum with scales of the operands, in units of the result's, so many ulps off."""
    sa, sb = (_next(np.float32(side) / np.float32(s.sy), n) for side, n in zip((s.sa, s.sb), ulps, strict=True))
    return _integer(graph, kind, replace(s, sa=float(sa), sb=float(sb), sy=1.0), a, b)


def _next(x: np.float32, ulps: int) -> np.float32:
    for _ in range(abs(ulps)):
        x = np.nextafter(x, np.float32(np.copysign(np.inf, ulps)))
    return x


def _integer(graph: KernelGraph, kind: BinaryKind, s: BinaryScales, a: str, b: str) -> str:
    sides = [(a, s.sa, s.za), (b, s.sb, s.zb)]
    operands = [name for x, scale, zero in sides for name in (x, *_grid(graph, scale, zero))]
    return graph.add(QLINEAR[kind], [*operands, *_grid(graph, s.sy, s.zy)], ort.MICROSOFT)


def _in_float(graph: KernelGraph, kind: BinaryKind, s: BinaryScales, a: str, b: str) -> str:
    sides = [(a, s.sa, s.za), (b, s.sb, s.zb)]
    real = [graph.add("DequantizeLinear", [x, *_grid(graph, scale, zero)]) for x, scale, zero in sides]
    return graph.add("QuantizeLinear", [graph.add(FLOAT[kind], real), *_grid(graph, s.sy, s.zy)])


def _grid(graph: KernelGraph, scale: float, zero: int) -> tuple[str, str]:
    return graph.constant(np.float32(scale)), graph.constant(np.uint8(zero + 128))
