"""Lower dfg to ldfg: low-level ops on tensors of four axes, weights as constants, chains of movement as one move.

before:
    %r = reshape(x=%x) {to=[1,8,4,1,4,1]}
    %e = expand(x=%r) {to=[1,8,4,2,4,2]}
    %y = reshape(x=%e) {to=[1,8,8,8]}
after:
    %y = LowLevelMove(x=%x) {kind="Expand", sizes=[32,2,4,2], steps=[4,0,1,0], shape=[1,8,8,8]}

dfg -> ldfg. Needs: supported operators. Keeps: every output value, bit for bit.
Raises LowerError where a movement needs more than six loops or a concatenation runs along W."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from isa.errors import LowerError
from isa.instructions import MOVE_AXES
from isa.layout import Box
from passes.ir import dfg
from passes.ir.graph import Array, Graph, Level, Names, Op, Value, constant
from passes.ir.lowlevel import (
    LowLevelAdd,
    LowLevelAveragePool,
    LowLevelConcat,
    LowLevelConv2d,
    LowLevelDepthwiseConv2d,
    LowLevelMaxPool,
    LowLevelMove,
    LowLevelMul,
    LowLevelPad,
    LowLevelSlice,
    LowLevelTable,
)
from passes.ir.quantization import conv_multiplier
from passes.ir.types import DType, Quant, TensorType, per_tensor, to_shape4
from passes.lower.strides import View, row_major
from passes.options import CompileOptions


def to_lowlevel(graph: Graph, options: CompileOptions) -> Graph:
    """A new ldfg graph without places: layouts and splits are chosen by the passes behind this one."""
    return _Lowering(graph).run()


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.old = graph
        self.new = Graph(name=graph.name, level=Level.LDFG, source=graph.source, batch=graph.batch)
        self.names = Names(graph.names())
        self.made: dict[Value, Value] = {}  # dfg value -> ldfg value
        self.views: dict[Value, tuple[Value, View, Op]] = {}  # dfg value -> base, view of it, the last movement

    def run(self) -> Graph:
        for value in self.old.inputs:
            self.new.inputs.append(value)
            self.made[value] = self._input(value)
        shown = {v: (v.name, v.type) for v in self.old.outputs}  # lowering a host op changes its result
        for op in self.old.ops:
            LOWERINGS[type(op)](self, op)
        outputs = {old: self._output(old, *shown[old]) for old in shown}
        self.new.outputs = [outputs[old] for old in self.old.outputs]
        self.new.remove_dead()
        return self.new

    def _input(self, value: Value) -> Value:
        """An input on four axes; that of the model keeps its name and shape."""
        if value.type.dtype is not DType.I8 or value.type.rank == 4:
            return value
        result = Value(self.names.fresh(f"{value.name}.lowered"), value.type.shaped(tuple(value.type.shape4)))
        self.new.ops.append(dfg.Lower(result=result, x=value))
        return result

    def _output(self, old: Value, name: str, type: TensorType) -> Value:
        """An output keeps the model's name and shape; what the machine makes for it gets another name."""
        made = self.value(old)
        if old.type.dtype is not DType.I8 or old in self.old.inputs:
            return made
        made.name = self.names.fresh(f"{name}.lowered") if made.name == name else made.name
        result = Value(name, type)
        self.new.ops.append(dfg.Unlower(result=result, x=made))
        return result

    def value(self, old: Value) -> Value:
        """The ldfg value of a dfg value: a pending view is made real, a constant is taken over."""
        if old not in self.made:
            if old in self.old.constants:
                type = old.type.shaped(tuple(old.type.shape4))
                self.made[old] = Value(old.name, type)
                self.new.constants[self.made[old]] = self.old.constants[old].reshape(type.shape)
            else:
                self.made[old] = self._materialize(old)
        return self.made[old]

    def host(self, op: Op) -> None:
        """Host ops stay what they are, on the shapes the user sees."""
        assert isinstance(op, dfg.HOST_OPS)
        to_npu = isinstance(op, dfg.Quantize) or (isinstance(op, dfg.Recast) and op.result.type.dtype is DType.I8)
        result = self.result(op.result) if to_npu else op.result
        self.emit(replace(op, x=self.value(op.x), result=result), op.result)

    def emit(self, op: Op, old: Value) -> None:
        self.new.ops.append(op)
        self.made[old] = op.result

    def result(self, old: Value) -> Value:
        """The result of a lowered op: the old name on four axes."""
        return Value(old.name, old.type.shaped(tuple(old.type.shape4)))

    def constant(self, hint: str, array: Array, dtype: DType, quant: Quant | None = None) -> Value:
        return constant(self.new, self.names, hint, array, TensorType(array.shape, dtype, quant))

    def move(self, op: Op, x: Value, change: Callable[[View], View | None]) -> None:
        """Remember a movement as a view; make the operand real first where the view cannot be expressed.

        Behind a reshape that no steps express, a view has the right elements in order under other axes.
        """
        base, view, _ = self.views.get(x, (x, row_major(x.type.shape), op))
        reshape = isinstance(op, dfg.Reshape)
        changed = change(view) if reshape or view.sizes == x.type.shape else None
        if changed is None and reshape:
            changed = view
        elif changed is None or len(changed.loops()[0]) > MOVE_AXES:
            base, changed = x, change(row_major(x.type.shape))
        assert changed is not None, "a movement of a row-major tensor is a view"
        self.views[op.result] = (base, changed, op)

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
            self.new.ops.append(LowLevelSlice(result=result, loc=op.loc, x=base, box=tuple(box)))
            return result
        if len(sizes) > MOVE_AXES:
            raise LowerError(
                "TooManyAxes",
                f"{op.mnemonic} needs {len(sizes)} nested loops, the machine has {MOVE_AXES}",
                at=op.loc,
                hint="split the Reshape/Transpose into simpler ones",
            )
        self.new.ops.append(
            LowLevelMove(
                result=result, loc=op.loc, x=base, kind=_kind(op, steps), start=view.start, sizes=sizes, steps=steps,
                shape=shape,
            )
        )  # fmt: skip
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
        own = int(np.prod(base[axis + 1 :], dtype=np.int64))
        corner.append(rest // own)
        rest %= own
    if corner[3] or any(at + size > extent for at, size, extent in zip(corner, shape, base, strict=True)):
        return None
    return Box(corner[0], shape[0], corner[1], shape[1], corner[2], shape[2])


def _kind(op: Op, steps: tuple[int, ...]) -> str:
    if 0 in steps:
        return "Expand"
    if isinstance(op, dfg.Slice):
        return "Slice"
    return "Transpose" if list(steps) != sorted(steps, reverse=True) or isinstance(op, dfg.Transpose) else "Reshape"


_O = TypeVar("_O", bound=Op)


def _conv(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Conv2d)
    weights = low.old.constants[op.w]
    out = op.shape()
    mid = per_tensor(op.mid_scale, op.mid_zero) if op.table is not None else op.result.type.q
    table = low.constant(f"{op.result.name}.table", low.old.constants[op.table], DType.I8) if op.table else None
    _emit_conv(
        low, op, weights=weights, quant=op.w.type.q, bias=op.bias, mid=mid, kernel=op.kernel, stride=op.stride,
        pad=op.pads[:2], dilation=op.dilation, out=(out[2], out[3]), group=op.group, lo=op.lo, hi=op.hi, table=table,
    )  # fmt: skip


def _conv_transpose(low: _Lowering, op: Op) -> None:
    """A transposed convolution is a convolution of the input with zeros between its elements, kernel flipped."""
    assert isinstance(op, dfg.ConvTranspose2d)
    if op.stride[0] != op.stride[1]:
        raise LowerError("UnsupportedConvTranspose", f"strides {op.stride} differ", at=op.loc, hint="use equal strides")
    w = low.old.constants[op.w]
    cin, cout, kh, kw = w.shape
    grouped = w.reshape(op.group, cin // op.group, cout, kh, kw).transpose(0, 2, 1, 3, 4)[..., ::-1, ::-1]
    weights = np.ascontiguousarray(grouped.reshape(op.group * cout, cin // op.group, kh, kw))
    quant = op.w.type.q
    if quant.axis is not None:
        quant = replace(quant, axis=0, scale=quant.scale * op.group if len(quant.scale) == cout else quant.scale)
    pad = (op.dilation[0] * (kh - 1) - op.pads[0], op.dilation[1] * (kw - 1) - op.pads[1])
    out = op.shape()
    _emit_conv(
        low, op, weights=weights, quant=quant, bias=op.bias, mid=op.result.type.q, kernel=(kh, kw), stride=(1, 1),
        pad=pad, dilation=op.dilation, out=(out[2], out[3]), group=op.group, lo=op.lo, hi=op.hi, up=op.stride[0],
    )  # fmt: skip


def _gemm(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Gemm)
    weights = low.old.constants[op.w][:, :, None, None]
    _emit_conv(
        low, op, weights=weights, quant=op.w.type.q, bias=op.bias, mid=op.result.type.q, lo=op.lo, hi=op.hi
    )  # fmt: skip


def _emit_conv(
    low: _Lowering, op: dfg.Conv2d | dfg.ConvTranspose2d | dfg.Gemm, *, weights: Array, quant: Quant,
    bias: Value | None, mid: Quant, kernel: dfg.Pair = (1, 1), stride: dfg.Pair = (1, 1), pad: tuple[int, ...] = (0, 0),
    dilation: dfg.Pair = (1, 1), out: dfg.Pair = (1, 1), group: int = 1, lo: int, hi: int, up: int = 1,
    table: Value | None = None,
) -> None:  # fmt: skip
    channels, name = weights.shape[0], op.result.name
    multiplier = conv_multiplier(op.x.type.q, quant, mid, channels)
    sums = low.old.constants[bias] if bias is not None else np.zeros(channels, np.int32)
    depthwise = group > 1 and weights.shape[1] == 1 and group == channels
    cls = LowLevelDepthwiseConv2d if depthwise else LowLevelConv2d
    low.emit(
        cls(
            result=low.result(op.result), loc=op.loc, x=low.value(op.x), channels=channels, group=group, up=up,
            w=low.constant(f"{name}.w", weights, DType.I8), bias=low.constant(f"{name}.bias", sums, DType.I32),
            multiplier=low.constant(f"{name}.multiplier", multiplier, DType.F32), table=table,
            lookup=table is not None, zero=mid.z, kernel=kernel, stride=stride, pad=(pad[0], pad[1]),
            dilation=dilation, out=out, lo=lo, hi=hi,
        ),
        op.result,
    )  # fmt: skip


def _binary(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Add | dfg.Mul)
    cls = LowLevelAdd if isinstance(op, dfg.Add) else LowLevelMul
    a, b = (_aligned(low, operand, op.result.type.rank) for operand in (op.a, op.b))
    low.emit(cls(result=low.result(op.result), loc=op.loc, a=a, b=b, lo=op.lo, hi=op.hi), op.result)


def _aligned(low: _Lowering, operand: Value, rank: int) -> Value:
    """An operand with leading axes of extent 1 up to a rank, so that four axes broadcast as the original ones do."""
    if operand.type.rank == rank:
        return low.value(operand)
    shape = (1,) * (rank - operand.type.rank) + operand.type.shape
    if operand in low.old.constants:
        type = operand.type.shaped(tuple(to_shape4(shape)))
        return low.constant(operand.name, low.old.constants[operand].reshape(type.shape), type.dtype, type.quant)
    reshaped = Value(low.names.fresh(f"{operand.name}.aligned"), operand.type.shaped(shape))
    low.move(dfg.Reshape(result=reshaped, x=operand, to=shape), operand, lambda view: view.reshaped(shape))
    return low.value(reshaped)


def _table(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Table)
    table = low.constant(f"{op.result.name}.table", low.old.constants[op.table], DType.I8)
    low.emit(LowLevelTable(result=low.result(op.result), loc=op.loc, x=low.value(op.x), table=table), op.result)


def _max_pool(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.MaxPool)
    shape = op.result.type.shape4
    low.emit(
        LowLevelMaxPool(
            result=low.result(op.result), loc=op.loc, x=low.value(op.x), kernel=op.kernel, stride=op.stride,
            pad=op.pads[:2], dilation=op.dilation, out=(shape.h, shape.w), lo=op.lo, hi=op.hi,
        ),
        op.result,
    )  # fmt: skip


def _average_pool(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.AveragePool)
    shape = op.result.type.shape4
    low.emit(
        LowLevelAveragePool(
            result=low.result(op.result), loc=op.loc, x=low.value(op.x), kernel=op.kernel, stride=op.stride,
            pad=op.pads[:2], dilation=op.dilation, out=(shape.h, shape.w), padded=op.padded, lo=op.lo, hi=op.hi,
        ),
        op.result,
    )  # fmt: skip


def _concat(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Concat)
    rank, axis = op.result.type.rank, op.axis
    if rank <= 4 and not (rank == 4 and axis == 3) and not (rank == 3 and axis == 2):
        inputs = tuple(low.value(v) for v in op.inputs)
        low.emit(LowLevelConcat(result=low.result(op.result), loc=op.loc, inputs=inputs, axis=axis), op.result)
        return
    raise LowerError(
        "UnsupportedConcat",
        f"Concat of {rank} axes along axis {axis}",
        at=op.loc,
        hint="Warboy concatenates along channels and height; cut the model before this node",
    )


def _pad(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Pad)
    if op.x.type.rank != 4 or op.before[0] or op.after[0]:
        what = f"Pad of {op.x.type.rank} axes" if op.x.type.rank != 4 else "Pad along the batch axis"
        raise LowerError("UnsupportedPad", what, at=op.loc, hint="pad channels, rows and columns of [n, c, h, w]")
    low.emit(
        LowLevelPad(
            result=low.result(op.result),
            loc=op.loc,
            x=low.value(op.x),
            before=op.before,
            after=op.after,
            value=op.value,
        ),
        op.result,
    )


def _slice(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Slice)
    low.move(op, op.x, lambda view: view.sliced(op.start, op.size, op.step))


def _reshape(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Reshape)
    low.move(op, op.x, lambda view: view.reshaped(op.to))


def _transpose(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Transpose)
    low.move(op, op.x, lambda view: view.transposed(op.perm))


def _expand(low: _Lowering, op: Op) -> None:
    assert isinstance(op, dfg.Expand)
    low.move(op, op.x, lambda view: view.expanded(op.shape()))


LOWERINGS: Mapping[type[Op], Callable[[_Lowering, Op], None]] = {
    dfg.Quantize: _Lowering.host,
    dfg.Dequantize: _Lowering.host,
    dfg.Recast: _Lowering.host,
    dfg.Conv2d: _conv,
    dfg.ConvTranspose2d: _conv_transpose,
    dfg.Gemm: _gemm,
    dfg.Add: _binary,
    dfg.Mul: _binary,
    dfg.Table: _table,
    dfg.MaxPool: _max_pool,
    dfg.AveragePool: _average_pool,
    dfg.Concat: _concat,
    dfg.Pad: _pad,
    dfg.Slice: _slice,
    dfg.Reshape: _reshape,
    dfg.Transpose: _transpose,
    dfg.Expand: _expand,
}
