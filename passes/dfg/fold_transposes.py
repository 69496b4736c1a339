"""Leave transposes beside the host to it: it re-lays what it hands over anyway.

before:
    in %x : i8[1,8,8,3] q(0.1,-3)
    %t = transpose(x=%x) {perm=[0,3,1,2]} : i8[1,3,8,8] q(0.1,-3)
    %y = maxpool(x=%t) : i8[1,3,8,8] q(0.1,-3)
    %u = transpose(x=%y) {perm=[0,2,3,1]} : i8[1,8,8,3] q(0.1,-3)
    %f = dequantize(x=%u) : f32[1,8,8,3]
after:
    in %x : i8[1,8,8,3] q(0.1,-3)
    %t = lower(x=%x) {perm=[0,3,1,2]} : i8[1,3,8,8] q(0.1,-3)
    %y = maxpool(x=%t) : i8[1,3,8,8] q(0.1,-3)
    %f = dequantize(x=%y) {perm=[0,2,3,1]} : f32[1,8,8,3]

dfg -> dfg. Needs: nothing. Keeps: every output value, bit for bit. Raises: nothing.
Leaves alone: a transpose between others that the NPU runs, and one whose operand or result both sides read."""

from __future__ import annotations

from passes.ir.graph import Graph
from passes.ir.op import Op
from passes.ops.host import Converts, Lower, Unlower
from passes.ops.move import Transpose
from passes.options import CompileOptions


def fold_transposes(graph: Graph, options: CompileOptions) -> Graph:
    """Give conversions on the host the order of axes that the NPU's side has; inputs and outputs in int8 get one."""
    return _Folding(graph).run()


class _Folding:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers, self.users = graph.producers(), graph.users()

    def run(self) -> Graph:
        ops = [self._folded(op) if isinstance(op, Transpose) else op for op in self.graph.ops]
        self.graph.ops = [op for op in ops if op is not None]
        return self.graph

    def _folded(self, op: Transpose) -> Op | None:
        """What stands in the place of a transpose: nothing where a conversion beside it does its work."""
        maker, readers = self.makers.get(op.x), self.users.get(op.result, [])
        if self.users[op.x] == [op] and op.x not in self.graph.outputs:
            if isinstance(maker, Converts) and maker.feeds_npu and not maker.perm:
                maker.results, maker.perm = op.results, op.perm
                self.makers[op.result] = maker
                return None
            if maker is None and op.x in self.graph.inputs:
                return Lower(results=op.results, loc=op.loc, x=op.x, perm=op.perm)
        if maker is None or isinstance(maker, Converts):
            return op
        if op.result in self.graph.outputs:
            return op if readers else Unlower(results=op.results, loc=op.loc, x=op.x, perm=op.perm)
        hosts = [reader for reader in readers if isinstance(reader, Converts) and not reader.perm]
        if not hosts or len(hosts) < len(readers):
            return op
        for reader in hosts:
            reader.substitute({op.result: op.x})
            reader.perm = op.perm
        return None
