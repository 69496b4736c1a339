"""Lower dfg to ldfg: low-level ops on tensors of four axes, weights as constants, chains of movement as one move.

before:
    %r = reshape(x=%x) {to=[1,8,4,1,4,1]}
    %e = expand(x=%r) {to=[1,8,4,2,4,2]}
    %y = reshape(x=%e) {to=[1,8,8,8]}
after:
    %y = LowLevelMove(x=%x) {kind="Expand", view=(start=0, sizes=[32,2,4,2], steps=[4,0,1,0]), shape=[1,8,8,8]}

dfg -> ldfg. Needs: supported operators. Keeps: every output value, bit for bit.
Raises LowerError where a movement needs more than six loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from isa.errors import Loc, LowerError
from isa.instructions import MOVE_AXES
from isa.layout import Box
from passes.ir.graph import Graph, Names, constant
from passes.ir.op import Array, Level, Op, Runs, Value
from passes.ir.strides import View, row_major
from passes.ir.types import DType, TensorType, dtype_of
from passes.ops.host import Lower, Unlower
from passes.ops.move import Expand, LowLevelMove, LowLevelSlice, Movement, Reshape
from passes.options import CompileOptions


def to_lowlevel(graph: Graph, options: CompileOptions) -> Graph:
    """A new ldfg graph without places: layouts and splits are chosen by the passes after this one."""
    return _Lowering(graph).run()


class _Lowering:
    """What ops lower themselves with. Movements wait as views of a base until an op needs the tensor itself."""

    def __init__(self, graph: Graph) -> None:
        self.old = graph
        self.new = Graph(name=graph.name, level=Level.LDFG, source=graph.source, batch=graph.batch, pixels=graph.pixels)
        self.names = Names(graph.names())
        self.made: dict[Value, Value] = {}  # dfg value -> ldfg value
        self.views: dict[Value, tuple[Value, View, Movement]] = {}  # dfg value -> base, view of it, the last movement

    def run(self) -> Graph:
        on_npu = {value for op in self.old.ops if op.runs is not Runs.HOST for value in op.activations()}
        for value in self.old.inputs:
            self.new.inputs.append(value)
            self.made[value] = self._input(value) if value in on_npu else value
        shown = {v: (v.name, v.type) for v in self.old.outputs}  # lowering a host op changes its result
        for op in self.old.ops:
            op.lower(self)
        outputs = {old: self._output(old, *shown[old]) for old in shown}
        self.new.outputs = [outputs[old] for old in self.old.outputs]
        self.new.remove_dead()
        return self.new

    def _input(self, value: Value) -> Value:
        """An input on four axes; that of the model keeps its name and shape."""
        if value.type.dtype is not DType.I8 or value.type.rank == 4:
            return value
        result = Value(self.names.fresh(f"{value.name}.lowered"), value.type.shaped(tuple(value.type.shape4)))
        self.new.ops.append(Lower(results=(result,), x=value))
        return result

    def _output(self, old: Value, name: str, type: TensorType) -> Value:
        """An output keeps the model's name and shape; what the machine makes for it gets another name."""
        if old in self.old.inputs:
            return old
        made = self.value(old)
        if old.type.dtype is not DType.I8 or made is old:  # the host has or makes it
            return made
        made.name = self.names.fresh(f"{name}.lowered") if made.name == name else made.name
        result = Value(name, type)
        self.new.ops.append(Unlower(results=(result,), x=made))
        return result

    def value(self, old: Value) -> Value:
        """The ldfg value of a dfg value: a pending view is made real, a constant is taken over."""
        if old not in self.made:
            if old in self.old.constants:
                self.made[old] = self._taken_over(old)
            else:
                self.made[old] = self._materialize(old)
        return self.made[old]

    def _taken_over(self, old: Value) -> Value:
        """A constant: activations on four axes, tables and models as they are."""
        type = old.type.shaped(tuple(old.type.shape4)) if old.type.quant is not None else old.type
        value = Value(old.name, type)
        self.new.constants[value] = self.old.constants[old].reshape(type.shape)
        return value

    def array(self, old: Value) -> Array:
        """What a constant of dfg holds."""
        return self.old.constants[old]

    def emit(self, op: Op, *old: Value) -> None:
        """Append an op that makes what some values of dfg are."""
        self.new.ops.append(op)
        self.made.update(zip(old, op.results, strict=True))

    def result(self, old: Value) -> Value:
        """The result of a lowered op: the old name on four axes."""
        return Value(old.name, old.type.shaped(tuple(old.type.shape4)))

    def constant(self, hint: str, array: Array, like: TensorType | None = None) -> Value:
        """A new constant; like: whose quantization it has."""
        dtype = dtype_of(array.dtype)
        assert dtype is not None
        type = TensorType(array.shape, dtype, like.quant if like is not None else None)
        return constant(self.new, self.names, hint, array, type)

    def move(self, op: Op, x: Value, change: Callable[[View], View | None], *, keeps_order: bool = False) -> None:
        """Remember a movement as a view; make the operand real first where the view cannot be expressed.

        After a reshape (keeps_order) that no steps express, a view has the right elements in order under other axes.
        """
        assert isinstance(op, Movement)
        base, view, _ = self.views.get(x, (x, row_major(x.type.shape), op))
        changed = change(view) if keeps_order or view.sizes == x.type.shape else None
        if changed is None and keeps_order:
            changed = view
        elif changed is None or len(changed.loops()[0]) > MOVE_AXES:
            base, changed = x, change(row_major(x.type.shape))
        assert changed is not None, "a movement of a row-major tensor is a view"
        self.views[op.result] = (base, changed, op)

    def fresh(self, hint: str) -> str:
        """A name that nothing has."""
        return self.names.fresh(hint)

    def expanded(self, old: Value, shape: tuple[int, ...], loc: Loc) -> Value:
        """A value with leading axes of extent 1 up to the rank of a shape, and repeated up to its extents."""
        if old.type.shape == shape:
            return self.value(old)
        if old in self.old.constants:
            array = np.broadcast_to(self.array(old), shape)
            type = old.type.shaped(shape)
            return self.constant(old.name, array.reshape(type.shape4), type)
        aligned = (1,) * (len(shape) - old.type.rank) + old.type.shape
        value = Value(self.names.fresh(f"{old.name}.aligned"), old.type.shaped(aligned))
        Reshape(results=(value,), loc=loc, x=old, to=aligned).lower(self)
        if aligned != shape:
            wide = Value(self.names.fresh(f"{old.name}.expanded"), old.type.shaped(shape))
            Expand(results=(wide,), loc=loc, x=value, to=shape).lower(self)
            value = wide
        return self.value(value)

    def _materialize(self, old: Value) -> Value:
        base_old, view, op = self.views[old]
        base = self.value(base_old)
        shape, type = tuple(old.type.shape4), old.type.shaped(tuple(old.type.shape4))
        sizes, steps = view.loops()
        identity = row_major(base.type.shape)
        if (view.start, sizes, steps) == (0, *identity.loops()) and shape == base.type.shape:
            return base
        result = Value(old.name, type)
        box = _box(view, base.type.shape, shape)
        if box is not None:
            self.new.ops.append(LowLevelSlice(results=(result,), loc=op.loc, x=base, box=box))
            return result
        if len(sizes) > MOVE_AXES:
            raise LowerError(
                "TooManyAxes",
                f"{op.mnemonic} needs {len(sizes)} nested loops, the machine has {MOVE_AXES}",
                at=op.loc,
                hint="split the Reshape/Transpose into simpler ones",
            )
        moved = LowLevelMove(
            results=(result,), loc=op.loc, x=base, kind=_kind(op, steps), view=View(view.start, sizes, steps),
            shape=shape
        )  # fmt: skip
        self.new.ops.append(moved)
        return result


def _box(view: View, base: tuple[int, ...], shape: tuple[int, ...]) -> Box | None:
    """The box of a four-axis base that a view is, where whole columns are kept and nothing is reordered."""
    full = row_major(base).reshaped(base)
    assert full is not None
    if len(view.sizes) != 4 or view.sizes != shape or shape[3] != base[3]:
        return None
    if any(size > 1 and step != own for size, step, own in zip(view.sizes, view.steps, full.steps, strict=True)):
        return None
    rest, corner = view.start, []
    for axis in range(4):
        own = math.prod(base[axis + 1 :])
        corner.append(rest // own)
        rest %= own
    if corner[3] or any(at + size > extent for at, size, extent in zip(corner, shape, base, strict=True)):
        return None
    return Box(corner[0], shape[0], corner[1], shape[1], corner[2], shape[2])


def _kind(op: Movement, steps: tuple[int, ...]) -> str:
    """Which operator of the vendor's profiles a move is."""
    if 0 in steps:
        return "Expand"
    if op.kind == "Slice":
        return "Slice"
    in_order = list(steps) == sorted(steps, reverse=True)
    return "Reshape" if in_order and op.kind != "Transpose" else "Transpose"
