"""Random small dfg graphs under hypothesis: every op, in the shapes that make passes stumble."""

from __future__ import annotations

from collections.abc import Callable

from graph_builder import Builder
from hypothesis import strategies as st

from passes.dfg.legality import MAX_GROUPS
from passes.ir.attributes import Clamp, Kernel
from passes.ir.graph import Graph
from passes.ir.op import Value
from passes.ir.types import DType, Quant, per_tensor
from passes.ops.channels import L2Normalize, Reduce, Softmax
from passes.ops.concat import Concat
from passes.ops.conv import ConvTranspose2d, Gemm
from passes.ops.elementwise import Add, Max, Min, Mul, Sum, Table
from passes.ops.matmul import MatMul
from passes.ops.move import Expand, Pad, Reshape, Slice, Transpose
from passes.ops.pool import AveragePool, MaxPool
from passes.ops.reduce import ReduceSum

QUANTS = st.builds(per_tensor, st.sampled_from([1 / 32, 0.05, 0.11, 0.3]), st.integers(-128, 127))


class Draw:
    """One graph being drawn: values so far, and how to add one more."""

    def __init__(self, draw: st.DrawFn, builder: Builder, elements: int) -> None:
        self.draw, self.builder, self.elements = draw, builder, elements
        self.values: list[Value] = []

    def int(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def quant(self) -> Quant:
        return self.draw(QUANTS)

    def clamp(self) -> dict[str, object]:
        """Usually none, sometimes a fused Relu or Clip."""
        low = self.draw(st.sampled_from([-128, -128, -128, 0, -20]))
        return {"clamp": Clamp(low, self.draw(st.sampled_from([127, 127, 127, max(low, 40)])))}

    def window(self, x: Value, *, pads: bool = True) -> Kernel:
        """A kernel that fits, each side padded by less than its reach."""
        _, _, h, w = x.type.shape
        kernel = (self.int(1, min(5, h + 1)), self.int(1, min(5, w + 1)))
        dilation = tuple(self.draw(st.sampled_from([1, 1, 2, 3])) for _ in range(2))
        reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
        sides = [self.int(0, reach[i % 2]) if pads else 0 for i in range(4)]
        for axis, extent in ((0, h), (1, w)):
            missing = reach[axis] + 1 - extent - sides[axis] - sides[axis + 2]
            for side in (axis, axis + 2):
                more = min(max(0, missing), reach[axis] - sides[side])
                sides[side], missing = sides[side] + more, missing - more
        stride = (self.int(1, 3), self.int(1, 3))
        return Kernel(kernel, stride, (sides[0], sides[1], sides[2], sides[3]), (dilation[0], dilation[1]))

    def step(self) -> None:
        """Add one op on a random value of four axes."""
        fours = [v for v in self.values if v.type.rank == 4]
        x = fours[-1] if self.draw(st.booleans()) else self.draw(st.sampled_from(fours))
        made = self.draw(st.sampled_from(STEPS))(self, x)
        if made.type.elements <= self.elements:
            self.values.append(made)


WEIGHT_ZEROS = st.sampled_from([0, 0, 0, -128, 17])


def conv(d: Draw, x: Value) -> Value:
    cin = x.type.shape[1]
    window = d.window(x)
    kind = d.draw(st.sampled_from(["dense", "dense", "grouped", "depthwise"]))
    divisors = [g for g in range(1, min(cin, MAX_GROUPS) + 1) if cin % g == 0]
    group = cin if kind == "depthwise" else d.draw(st.sampled_from(divisors)) if kind == "grouped" else 1
    each = d.draw(
        st.sampled_from([1, 3, 8, 17, 40] if kind == "dense" else [1, 1, 2, 3] if group < MAX_GROUPS else [1])
    )
    return d.builder.conv(
        x, group * each, window.size, group=group, per_channel=d.draw(st.booleans()), bias=d.draw(st.booleans()),
        lookup=d.draw(st.booleans()), quant=d.quant(), stride=window.stride, pads=window.pads, dilation=window.dilation,
        weight_zero=d.draw(WEIGHT_ZEROS), **d.clamp(),
    )  # fmt: skip


def conv_transpose(d: Draw, x: Value) -> Value:
    cin = x.type.shape[1]
    group = d.draw(st.sampled_from([g for g in range(1, min(cin, MAX_GROUPS) + 1) if cin % g == 0]))
    kernel, dilation, stride = (d.int(1, 4), d.int(1, 4)), (d.int(1, 2), d.int(1, 2)), d.int(1, 3)
    out = d.int(1, 3)
    sides = [d.int(0, dilation[i % 2] * (kernel[i % 2] - 1)) for i in range(4)]
    pads = (sides[0], sides[1], sides[2], sides[3])
    extents = [
        (x.type.shape[2 + a] - 1) * stride - pads[a] - pads[a + 2] + dilation[a] * (kernel[a] - 1) for a in (0, 1)
    ]
    if min(extents) < 0:
        pads = (0, 0, 0, 0)
    extra = d.int(0, stride - 1)
    return d.builder.op(
        ConvTranspose2d, d.quant(), x=x, w=d.builder.weights((cin, out, *kernel), None, d.draw(WEIGHT_ZEROS)),
        bias=d.builder.bias(out * group), group=group, kernel=Kernel(kernel, (stride, stride), (pads[0], pads[1],
        pads[2], pads[3]), dilation), output_padding=(extra, extra), **d.clamp(),
    )  # fmt: skip


def binary(d: Draw, x: Value) -> Value:
    """With a value of the same shape, one with axes of extent 1, a constant, or itself."""
    cls = d.draw(st.sampled_from([Add, Mul]))
    shape = tuple(extent if d.draw(st.booleans()) else 1 for extent in x.type.shape)
    same = [v for v in d.values if v.type.shape == x.type.shape]
    kind = d.draw(st.sampled_from(["same", "sliced", "constant"]))
    if kind == "same":
        other = d.draw(st.sampled_from(same))
    elif kind == "sliced":
        other = d.builder.op(Slice, x.type.q, x=x, start=(0,) * 4, size=(x.type.shape[0], *shape[1:]), step=(1,) * 4)
    else:
        other = d.builder.constant(d.builder.int8(*(1, *shape[1:])[d.int(0, 3) :]), d.quant())
    a, b = (x, other) if d.draw(st.booleans()) else (other, x)
    return d.builder.op(cls, d.quant(), a=a, b=b, **d.clamp())


def table(d: Draw, x: Value) -> Value:
    return d.builder.op(Table, d.quant(), x=x, table=d.builder.table())


def max_pool(d: Draw, x: Value) -> Value:
    return d.builder.op(MaxPool, x.type.q, x=x, ceil=d.draw(st.booleans()), kernel=d.window(x), **d.clamp())


def average_pool(d: Draw, x: Value) -> Value:
    padded = d.draw(st.booleans())
    return d.builder.op(
        AveragePool, d.quant(), x=x, padded=padded, ceil=not padded and d.draw(st.booleans()),
        kernel=d.window(x), **d.clamp(),
    )  # fmt: skip


def reduce_sum(d: Draw, x: Value) -> Value:
    rows = d.draw(st.booleans())
    columns = not rows or d.draw(st.booleans())
    return d.builder.op(ReduceSum, d.quant(), x=x, rows=rows, columns=columns, **d.clamp())


def reduce(d: Draw, x: Value) -> Value:
    axes = d.draw(st.sets(st.integers(1, 3), min_size=1))
    kind = d.draw(st.sampled_from(["sum", "mean", "l2"]))
    return d.builder.op(Reduce, d.quant(), x=x, axes=tuple(sorted(axes)), kind=kind, **d.clamp())


def along_axis(d: Draw, x: Value) -> Value:
    cls, quant = d.draw(st.sampled_from([(Softmax, per_tensor(1 / 256, -128)), (L2Normalize, per_tensor(1 / 128, 0))]))
    return d.builder.op(cls, quant, x=x, axis=d.int(1, 3), **d.clamp())


def matmul(d: Draw, x: Value) -> Value:
    """With its own transpose."""
    turned = d.builder.op(Transpose, x.type.q, x=x, perm=(0, 1, 3, 2))
    return d.builder.op(MatMul, d.quant(), a=x, b=turned, **d.clamp())


def several(d: Draw, x: Value) -> Value:
    """Sums of up to four values of the same shape, repeated ones included; comparisons of two."""
    same = [v for v in d.values if v.type.shape == x.type.shape]
    others = d.draw(st.lists(st.sampled_from(same), min_size=1, max_size=3))
    if d.draw(st.booleans()):
        return d.builder.op(d.draw(st.sampled_from([Max, Min])), d.quant(), a=x, b=others[0], **d.clamp())
    return d.builder.op(Sum, d.quant(), inputs=(x, *others), divisor=d.int(1, 4), **d.clamp())


def concat(d: Draw, x: Value) -> Value:
    """Of whatever goes together along c, h or w, repeated values included."""
    axis = d.int(1, 3)
    rest = [extent for a, extent in enumerate(x.type.shape) if a != axis]
    alike = [v for v in d.values if v.type.rank == 4 and v.type.quant == x.type.quant]
    fitting = [v for v in alike if [extent for a, extent in enumerate(v.type.shape) if a != axis] == rest]
    inputs = tuple(d.draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=3)))
    return d.builder.op(Concat, x.type.q, inputs=(*inputs, x), axis=axis)


def slice_(d: Draw, x: Value) -> Value:
    start, size, step = [0], [x.type.shape[0]], [1]
    for extent in x.type.shape[1:]:
        by = d.draw(st.sampled_from([1, 1, 1, 2, 3, -1]))
        count = d.int(1, -(-extent // abs(by)))
        reach = (count - 1) * abs(by)
        low = d.int(0, extent - 1 - reach)
        start.append(low if by > 0 else low + reach)
        size.append(count)
        step.append(by)
    return d.builder.op(Slice, x.type.q, x=x, start=tuple(start), size=tuple(size), step=tuple(step))


def pad(d: Draw, x: Value) -> Value:
    before, after = ((0, *(d.int(0, 3) for _ in range(3))) for _ in range(2))
    return d.builder.op(Pad, x.type.q, x=x, before=before, after=after, value=d.int(-128, 127))


def transpose(d: Draw, x: Value) -> Value:
    return d.builder.op(Transpose, x.type.q, x=x, perm=(0, *d.draw(st.permutations([1, 2, 3]))))


def reshape(d: Draw, x: Value) -> Value:
    """C, H and W as other factors of their product."""
    n, *rest = x.type.shape
    left, to = rest[0] * rest[1] * rest[2], []
    for _ in range(2):
        to.append(d.draw(st.sampled_from([f for f in range(1, left + 1) if left % f == 0])))
        left //= to[-1]
    return d.builder.op(Reshape, x.type.q, x=x, to=(n, *to, left))


def upsample(d: Draw, x: Value) -> Value:
    """Nearest neighbour by integer factors, the way resize is written in the 28."""
    n, c, h, w = x.type.shape
    a, b = d.int(1, 3), d.int(1, 3)
    split = d.builder.op(Reshape, x.type.q, x=x, to=(n, c, h, 1, w, 1))
    wide = d.builder.op(Expand, x.type.q, x=split, to=(n, c, h, a, w, b))
    return d.builder.op(Reshape, x.type.q, x=wide, to=(n, c, h * a, w * b))


def shuffle(d: Draw, x: Value) -> Value:
    """Channels dealt out to groups: reshape, transpose, reshape."""
    n, c, h, w = x.type.shape
    groups = d.draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
    split = d.builder.op(Reshape, x.type.q, x=x, to=(n, groups, c // groups, h, w))
    turned = d.builder.op(Transpose, x.type.q, x=split, perm=(0, 2, 1, 3, 4))
    return d.builder.op(Reshape, x.type.q, x=turned, to=(n, c, h, w))


def gemm(d: Draw, x: Value) -> Value:
    """Flattened first; back to four axes behind it."""
    n, *rest = x.type.shape
    features, out = rest[0] * rest[1] * rest[2], d.draw(st.sampled_from([1, 5, 64, 130]))
    flat = d.builder.op(Reshape, x.type.q, x=x, to=(n, features))
    w = d.builder.weights((out, features), 0 if d.draw(st.booleans()) else None, d.draw(WEIGHT_ZEROS))
    made = d.builder.op(Gemm, d.quant(), x=flat, w=w, bias=d.builder.bias(out), **d.clamp())
    d.values.append(made)
    return d.builder.op(Reshape, made.type.q, x=made, to=(n, out, 1, 1))


STEPS: list[Callable[[Draw, Value], Value]] = [
    conv, conv, conv, conv_transpose, binary, binary, table, max_pool, average_pool, reduce_sum, reduce,
    along_axis, matmul, several, concat, concat, slice_,
    pad, transpose, reshape, upsample, shuffle, gemm,
]  # fmt: skip


@st.composite
def graphs(
    draw: st.DrawFn, max_ops: int = 6, batch: int | None = None, extent: int = 14, elements: int = 6000
) -> Graph:
    """A graph of up to so many ops on tensors of up to so many elements, with one to three outputs."""
    builder = Builder(draw(st.integers(0, 2**16)))
    d = Draw(draw, builder, elements)
    n = batch or draw(st.sampled_from([1, 1, 2]))
    shape = (n, draw(st.sampled_from([1, 2, 3, 4, 8, 12])), d.int(1, extent), d.int(1, extent))
    d.values.append(builder.image(shape, draw(QUANTS), draw(st.sampled_from([DType.F32, DType.I8, DType.U8]))))
    for _ in range(d.int(1, max_ops)):
        d.step()
    last = d.values[-1]
    for value in dict.fromkeys([last, *draw(st.lists(st.sampled_from(d.values), max_size=2))]):
        builder.output(value, dequantize=draw(st.booleans()))
    return builder.done()
