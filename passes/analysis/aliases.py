"""Which part of which buffer a value is: views and in-place results followed to the buffer they are part of."""

from __future__ import annotations

from isa.layout import Box
from passes.ir.graph import Graph
from passes.ir.op import Op, Value


class Aliases:
    """Buffers of the values of one ldfg, cdfg or gir graph."""

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
        """The buffer an op writes and the box of it: all of its result, or a part."""
        root, box = self.of(op.result)
        part = op.written()
        return root, box if part is None else part.within(box)

    def _find(self, value: Value) -> tuple[Value, Box]:
        op = self._producers.get(value)
        part = op.alias() if op is not None else None
        if part is not None:
            root, outer = self.of(part[0])
            return root, part[1].within(outer)
        return value, value.type.shape4.box
