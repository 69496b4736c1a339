"""Which part of which buffer a value is: views and in-place results followed to their root."""

from __future__ import annotations

from isa.layout import Box
from passes.ir.graph import Graph, Op, Value
from passes.ir.lowlevel import LowLevelOp, LowLevelSlice
from passes.ir.types import InDram


class Windows:
    """Roots of the values of one ldfg, cdfg or gir graph."""

    def __init__(self, graph: Graph) -> None:
        self._producers: dict[Value, Op] = graph.producers()
        self._known: dict[Value, tuple[Value, Box]] = {}

    def of(self, value: Value) -> tuple[Value, Box]:
        """The buffer a value lies in and its box there."""
        if value not in self._known:
            self._known[value] = self._find(value)
        return self._known[value]

    def root(self, value: Value) -> Value:
        return self.of(value)[0]

    def written(self, op: Op) -> tuple[Value, Box]:
        """The buffer an op writes and the box of it: all of its result, or the part at `at`."""
        root, box = self.of(op.result)
        if isinstance(op, LowLevelOp) and op.into is not None:
            n, c, h, _ = op.made()
            n0, c0, h0 = op.at
            return root, Box(box.n0 + n0, n, box.c0 + c0, c, box.h0 + h0, h)
        return root, box

    def _find(self, value: Value) -> tuple[Value, Box]:
        op = self._producers.get(value)
        if isinstance(op, LowLevelOp) and op.into is not None:
            return self.of(op.into)
        if isinstance(op, LowLevelSlice) and not isinstance(op.x.type.place, InDram):
            root, outer = self.of(op.x)
            return root, Box(*op.box).within(outer)
        shape = value.type.shape4
        return value, Box(0, shape.n, 0, shape.c, 0, shape.h)
