"""Every operator of the TFLite frontend, alone in a model, against LiteRT's reference kernels: within 1 LSB."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType
from tflite_models import Drawing, data_for, litert

import furc

SAME, VALID = 0, 1
RELU, RELU6 = 1, 3


def conv(d: Drawing) -> int:
    return d.conv(d.input((1, 9, 8, 5)), 6, stride=2, activation=RELU)


def conv_valid_dilated(d: Drawing) -> int:
    return d.conv(d.input((1, 11, 9, 4)), 8, padding=VALID, dilation=2)


def depthwise(d: Drawing) -> int:
    return d.conv(d.input((1, 9, 8, 6)), 6, stride=2, depthwise=True, activation=RELU6)


def depthwise_multiplied(d: Drawing) -> int:
    return d.conv(d.input((1, 7, 7, 3)), 6, depthwise=True)


def transpose_conv(d: Drawing, padding: int = SAME) -> int:
    x = d.input((1, 5, 4, 6))
    weights, scale = d.weights((3, 3, 3, 6), 3, 0)
    out = (1, 10, 8, 3) if padding == SAME else (1, 11, 9, 3)
    bias = d.bias(3, np.float32(0.05) * scale)
    return d.op("TRANSPOSE_CONV", (d.ints(*out), weights, x, bias), (d.activation(out, 0.2),), "TransposeConvOptions",
                strideH=2, strideW=2, padding=padding)  # fmt: skip


def transpose_conv_valid(d: Drawing) -> int:
    return transpose_conv(d, VALID)


def fully_connected(d: Drawing) -> int:
    x = d.input((1, 20))
    weights, scale = d.weights((7, 20), 7, 0)
    if d.dtype == "int8":  # per tensor, as all versions of the operator have it
        weights, scale = (
            d.tensor((7, 20), 0.01, 0, data=d.random.integers(-127, 128, (7, 20)).astype(np.int8)),
            np.array([0.01]),
        )
    bias = d.bias(7, np.float32(0.05) * scale.astype(np.float32))
    return d.op("FULLY_CONNECTED", (x, weights, bias), (d.activation((1, 7), 0.1),), "FullyConnectedOptions",
                fusedActivationFunction=RELU)  # fmt: skip


def flattened(d: Drawing) -> int:
    """An image, a RESHAPE, a FULLY_CONNECTED: its weights are turned, not the image."""
    x = d.conv(d.input((1, 4, 3, 2)), 5)
    scale = d.graph.tensors[x].quantization.scale[0]
    flat = d.op("RESHAPE", (x, d.ints(1, 60)), (d.activation((1, 60), scale),), "ReshapeOptions", newShape=[1, 60])
    stored = d.random.integers(-127, 128, (7, 60)).astype(np.int8)
    weights = d.weights((7, 60), 7, 0)[0] if d.dtype == "uint8" else d.tensor((7, 60), 0.01, 0, data=stored)
    bias = d.bias(7, np.float32(scale) * np.full(1, 0.01, np.float32))
    return d.op("FULLY_CONNECTED", (flat, weights, bias), (d.activation((1, 7), 0.4),), "FullyConnectedOptions")


def add(d: Drawing) -> int:
    a, b = d.input((1, 6, 5, 4), 0.05, 3), d.input((1, 6, 5, 4), 0.02, -7)
    return d.op("ADD", (a, b), (d.activation((1, 6, 5, 4), 0.06),), "AddOptions", fusedActivationFunction=RELU)


def mul(d: Drawing) -> int:
    a, b = d.input((1, 6, 5, 4), 0.05, 3), d.input((1, 6, 5, 4), 0.02, -7)
    return d.op("MUL", (a, b), (d.activation((1, 6, 5, 4), 0.1),), "MulOptions")


def sub_constant(d: Drawing) -> int:
    """Of an image that is there as n, c, h, w: the constant follows it."""
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    kind = np.dtype(d.dtype)
    stored = d.random.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (4,)).astype(kind)
    c = d.tensor((4,), 0.03, 5, data=stored)
    return d.op("SUB", (x, c), (d.activation((1, 6, 5, 4), 0.25),), "SubOptions")


def max_pool(d: Drawing) -> int:
    return d.op("MAX_POOL_2D", (d.input((1, 9, 8, 3)),), (d.activation((1, 5, 4, 3)),), "Pool2DOptions",
                strideH=2, strideW=2, filterHeight=3, filterWidth=3, padding=SAME)  # fmt: skip


def average_pool(d: Drawing) -> int:
    return d.op("AVERAGE_POOL_2D", (d.input((1, 9, 8, 3)),), (d.activation((1, 5, 4, 3)),), "Pool2DOptions",
                strideH=2, strideW=2, filterHeight=3, filterWidth=3, padding=SAME)  # fmt: skip


def mean(d: Drawing) -> int:
    return d.op("MEAN", (d.input((1, 6, 5, 4)), d.ints(1, 2)), (d.activation((1, 4), 0.03),), "ReducerOptions")


def mean_kept(d: Drawing) -> int:
    return d.op("MEAN", (d.input((1, 6, 5, 4)), d.ints(1, 2)), (d.activation((1, 1, 1, 4), 0.03),), "ReducerOptions",
                keepDims=True)  # fmt: skip


def concatenation(d: Drawing) -> int:
    a, b = d.input((1, 6, 5, 4)), d.input((1, 6, 5, 3))
    return d.op("CONCATENATION", (a, b), (d.activation((1, 6, 5, 7)),), "ConcatenationOptions", axis=-1)


def reshape(d: Drawing) -> int:
    x = d.conv(d.input((1, 4, 3, 2)), 6)
    return d.op(
        "RESHAPE", (x, d.ints(1, 24, 3)), (d.activation((1, 24, 3), 0.2),), "ReshapeOptions", newShape=[1, 24, 3]
    )


def squeeze(d: Drawing) -> int:
    x = d.input((1, 1, 1, 12))
    return d.op("SQUEEZE", (x,), (d.activation((1, 12)),), "SqueezeOptions", squeezeDims=[1, 2])


def expand_dims(d: Drawing) -> int:
    return d.op("EXPAND_DIMS", (d.input((1, 12)), d.scalar(1)), (d.activation((1, 1, 12)),), "ExpandDimsOptions")


def pad(d: Drawing) -> int:
    amounts = d.ints([0, 0], [1, 2], [0, 1], [0, 0])
    return d.op("PAD", (d.input((1, 6, 5, 4)), amounts), (d.activation((1, 9, 6, 4)),), "PadOptions")


def padv2(d: Drawing) -> int:
    amounts = d.ints([0, 0], [1, 2], [0, 1], [0, 0])
    fill = d.tensor((1,), 0.05, 131 if d.dtype == "uint8" else 3, data=np.array([17], d.dtype))
    return d.op("PADV2", (d.input((1, 6, 5, 4)), amounts, fill), (d.activation((1, 9, 6, 4)),), "PadV2Options")


def strided_slice(d: Drawing) -> int:
    begin, end, step = d.ints(0, 1, 0, 0), d.ints(1, 6, 0, 3), d.ints(1, 2, 2, 1)
    return d.op("STRIDED_SLICE", (d.input((1, 6, 5, 4)), begin, end, step), (d.activation((1, 3, 3, 3)),),
                "StridedSliceOptions", endMask=4)  # fmt: skip


def strided_slice_shrunk(d: Drawing) -> int:
    begin, end, step = d.ints(0, 0, 0, 1), d.ints(1, 6, 5, 2), d.ints(1, 1, 1, 1)
    return d.op("STRIDED_SLICE", (d.conv(d.input((1, 6, 5, 4)), 4), begin, end, step), (d.activation((1, 6, 5), 0.2),),
                "StridedSliceOptions", shrinkAxisMask=8)  # fmt: skip


def slice_(d: Drawing) -> int:
    x, begin, size = d.input((1, 6, 5, 4)), d.ints(0, 1, 2, 0), d.ints(1, 4, -1, 3)
    return d.op("SLICE", (x, begin, size), (d.activation((1, 4, 3, 3)),), "SliceOptions")


def split(d: Drawing) -> int:
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    parts = (d.activation((1, 6, 5, 2), 0.2), d.activation((1, 6, 5, 2), 0.2))
    d.op("SPLIT", (d.scalar(3), x), parts, "SplitOptions", numSplits=2)
    return d.op("ADD", parts, (d.activation((1, 6, 5, 2), 0.3),), "AddOptions")


def transpose(d: Drawing) -> int:
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    return d.op("TRANSPOSE", (x, d.ints(0, 3, 1, 2)), (d.activation((1, 4, 6, 5), 0.2),), "TransposeOptions")


def logistic(d: Drawing) -> int:
    return d.op("LOGISTIC", (d.input((1, 6, 5, 4)),), (d.activation((1, 6, 5, 4), 1 / 256, -128),))


def tanh(d: Drawing) -> int:
    return d.op("TANH", (d.input((1, 6, 5, 4), 0.02),), (d.activation((1, 6, 5, 4), 1 / 128, 0),))


def relu(d: Drawing) -> int:
    return d.op("RELU", (d.input((1, 6, 5, 4)),), (d.activation((1, 6, 5, 4), 0.03, -128),))


def relu6(d: Drawing) -> int:
    return d.op("RELU6", (d.input((1, 6, 5, 4)),), (d.activation((1, 6, 5, 4), 6 / 255, -128),))


def resize(d: Drawing) -> int:
    return d.op("RESIZE_NEAREST_NEIGHBOR", (d.input((1, 4, 3, 5)), d.ints(8, 6)), (d.activation((1, 8, 6, 5)),),
                "ResizeNearestNeighborOptions", halfPixelCenters=True)  # fmt: skip


def depth_to_space(d: Drawing) -> int:
    return d.op(
        "DEPTH_TO_SPACE", (d.input((1, 4, 3, 8)),), (d.activation((1, 8, 6, 2)),), "DepthToSpaceOptions", blockSize=2
    )


def space_to_depth(d: Drawing) -> int:
    return d.op(
        "SPACE_TO_DEPTH", (d.input((1, 4, 6, 2)),), (d.activation((1, 2, 3, 8)),), "SpaceToDepthOptions", blockSize=2
    )


def requantize(d: Drawing) -> int:
    return d.op("QUANTIZE", (d.input((1, 6, 5, 4)),), (d.activation((1, 6, 5, 4), 0.08, -5),), "QuantizeOptions")


def pack(d: Drawing) -> int:
    a, b = d.input((1, 6, 5)), d.input((1, 6, 5))
    return d.op("PACK", (a, b), (d.activation((1, 6, 2, 5)),), "PackOptions", valuesCount=2, axis=2)


def unpack(d: Drawing) -> int:
    parts = (d.activation((1, 6, 4)), d.activation((1, 6, 4)))
    d.op("UNPACK", (d.input((1, 6, 2, 4)),), parts, "UnpackOptions", num=2, axis=2)
    return d.op("ADD", parts, (d.activation((1, 6, 4), 0.09),), "AddOptions")


def padded_conv(d: Drawing) -> int:
    """As converters write convolutions with stride: a PAD of its own in front."""
    y = d.op(
        "PAD",
        (d.input((1, 6, 5, 4)), d.ints([0, 0], [1, 1], [1, 1], [0, 0])),
        (d.activation((1, 8, 7, 4)),),
        "PadOptions",
    )
    return d.conv(y, 4)


def conv_over_blocks(d: Drawing, depthwise: bool = False) -> int:
    """A dilated convolution as converters write it where the batch is open: paddings fill up blocks, crops undo it."""
    x = d.input((1, 11, 9, 4))
    blocks, paddings, crops = d.ints(2, 3), d.ints([3, 2], [3, 6]), d.ints([1, 0], [0, 3])
    y = d.op("SPACE_TO_BATCH_ND", (x, blocks, paddings), (d.activation((6, 8, 6, 4)),))
    y = d.conv(y, 4, depthwise=depthwise, padding=VALID, activation=RELU)
    return d.op("BATCH_TO_SPACE_ND", (y, blocks, crops), (d.activation((1, 11, 9, 4), 0.2),))


def depthwise_over_blocks(d: Drawing) -> int:
    return conv_over_blocks(d, depthwise=True)


def gelu(d: Drawing) -> int:
    """Of an image that is there as n, c, h, w."""
    x = d.conv(d.input((1, 6, 5, 4)), 4, scale=0.04)
    return d.op("GELU", (x,), (d.activation((1, 6, 5, 4), 0.03, -100),), "GeluOptions")


def gelu_by_tanh(d: Drawing) -> int:
    return d.op("GELU", (d.input((1, 6, 5, 4)),), (d.activation((1, 6, 5, 4), 0.04, -100),), "GeluOptions",
                approximate=True)  # fmt: skip


def rsqrt(d: Drawing) -> int:
    return d.op("RSQRT", (d.input((1, 6, 5, 4), 0.05, -128),), (d.activation((1, 6, 5, 4), 0.02, -128),))


def prelu(d: Drawing) -> int:
    """A slope a channel, of an image that is there as n, c, h, w."""
    slopes = d.random.integers(0, 128, (1, 1, 4)).astype(d.dtype)
    slope = d.tensor((1, 1, 4), 0.01, 3, data=slopes)
    return d.op("PRELU", (d.conv(d.input((1, 6, 5, 4)), 4), slope), (d.activation((1, 6, 5, 4), 0.2),))


def prelu_of_elements(d: Drawing) -> int:
    slope = d.tensor((6, 5, 4), 0.01, 3, data=d.random.integers(0, 128, (6, 5, 4)).astype(d.dtype))
    return d.op("PRELU", (d.conv(d.input((1, 6, 5, 4)), 4), slope), (d.activation((1, 6, 5, 4), 0.2),))


def squared_difference(d: Drawing) -> int:
    a, b = d.input((1, 6, 5, 4), 0.05, 3), d.input((1, 6, 5, 1), 0.02, -7)
    return d.op("SQUARED_DIFFERENCE", (a, b), (d.activation((1, 6, 5, 4), 0.2, -128),))


def mirror_pad(d: Drawing) -> int:
    amounts = d.ints([0, 0], [1, 2], [0, 3], [0, 0])
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    return d.op("MIRROR_PAD", (x, amounts), (d.activation((1, 9, 8, 4), 0.2),), "MirrorPadOptions")


def gather(d: Drawing) -> int:
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    return d.op("GATHER", (x, d.ints(3, 1, 0)), (d.activation((1, 6, 5, 3), 0.2),), "GatherOptions", axis=3)


def batch_matmul(d: Drawing) -> int:
    a, b = d.input((1, 2, 6, 8)), d.input((1, 2, 8, 5), 0.02, -7)
    return d.op("BATCH_MATMUL", (a, b), (d.activation((1, 2, 6, 5), 0.1),), "BatchMatMulOptions")


def batch_matmul_turned(d: Drawing) -> int:
    a, b = d.input((1, 2, 8, 6)), d.input((1, 2, 5, 8), 0.02, -7)
    return d.op("BATCH_MATMUL", (a, b), (d.activation((1, 2, 6, 5), 0.1),), "BatchMatMulOptions",
                adjX=True, adjY=True)  # fmt: skip


def reduce_max(d: Drawing) -> int:
    """Over rows and columns: the pool that the NPU has for it."""
    return d.op("REDUCE_MAX", (d.input((1, 6, 5, 4)), d.ints(1, 2)), (d.activation((1, 4)),), "ReducerOptions")


def square(d: Drawing) -> int:
    return d.op("SQUARE", (d.input((1, 6, 5, 4)),), (d.activation((1, 6, 5, 4)),))


def power(d: Drawing) -> int:
    two = d.tensor((1,), data=np.array([2], np.float32))
    return d.op("POW", (d.input((1, 6, 5, 4)), two), (d.activation((1, 6, 5, 4)),))


def tile(d: Drawing) -> int:
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    return d.op("TILE", (x, d.ints(1, 2, 1, 3)), (d.activation((1, 12, 5, 12), 0.2),))


def broadcast_to(d: Drawing) -> int:
    return d.op("BROADCAST_TO", (d.input((1, 6, 1, 4)), d.ints(1, 6, 5, 4)), (d.activation((1, 6, 5, 4)),))


def condition(d: Drawing, op: str, x: int, limit: int) -> int:
    return d.op(op, (x, limit), (d.tensor(d.graph.tensors[x].shape, dtype="bool"),))


def constant(d: Drawing, value: float, scale: float = 0.02, zero: int = 0) -> int:
    if d.dtype == "float32":
        return d.tensor((), data=np.array(value, np.float32))
    return d.tensor((), scale, zero, data=np.array(round(value / scale) + zero, d.dtype))


def selu(d: Drawing) -> int:
    """As Keras' SELU comes: x > 0 chooses between scale * x and scale * alpha * (exp(x) - 1)."""
    scale, alpha, shape = 1.0507009873554805, 1.6732632423543772, (1, 6, 5, 4)
    x = d.conv(d.input(shape), 4, scale=0.03)
    line = d.op("MUL", (x, constant(d, scale, 0.01)), (d.activation(shape, 0.03),), "MulOptions")
    exp = d.op("EXP", (x,), (d.activation(shape, 0.2, -128),))
    less = d.op("SUB", (exp, constant(d, 1.0, 0.01)), (d.activation(shape, 0.2, -120),), "SubOptions")
    curve = d.op("MUL", (less, constant(d, scale * alpha, 0.02)), (d.activation(shape, 0.03),), "MulOptions")
    return d.op("SELECT_V2", (condition(d, "GREATER", x, constant(d, 0.0)), line, curve), (d.activation(shape, 0.03),))


def relu_with_threshold(d: Drawing) -> int:
    """As Keras writes it: x * cast(x > threshold)."""
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    above = condition(d, "GREATER", x, constant(d, 1.0))
    factor = d.op("CAST", (above,), (d.tensor((1, 6, 5, 4), dtype="float32"),))
    if d.dtype != "float32":
        factor = d.op("QUANTIZE", (factor,), (d.activation((1, 6, 5, 4), 1 / 255, -128),), "QuantizeOptions")
    return d.op("MUL", (x, factor), (d.activation((1, 6, 5, 4), 0.2),), "MulOptions")


def chosen(d: Drawing, op: str, select: str = "SELECT_V2") -> int:
    """Of two images: one that is there as n, c, h, w, and an input."""
    a, b = d.conv(d.input((1, 6, 5, 4)), 4, scale=0.05), d.input((1, 6, 5, 4), 0.05)
    return d.op(select, (condition(d, op, a, b), b, a), (d.activation((1, 6, 5, 4), 0.05),))


def not_equal(d: Drawing) -> int:
    return chosen(d, "NOT_EQUAL")


def equal(d: Drawing) -> int:
    return chosen(d, "EQUAL", "SELECT")


def less(d: Drawing) -> int:
    return chosen(d, "LESS", "SELECT")


def less_equal(d: Drawing) -> int:
    return chosen(d, "LESS_EQUAL")


def greater_equal(d: Drawing) -> int:
    return chosen(d, "GREATER_EQUAL")


CASES: list[Callable[[Drawing], int]] = [
    conv,
    conv_valid_dilated,
    depthwise,
    depthwise_multiplied,
    transpose_conv,
    transpose_conv_valid,
    fully_connected,
    flattened,
    add,
    mul,
    sub_constant,
    max_pool,
    average_pool,
    mean,
    mean_kept,
    concatenation,
    reshape,
    squeeze,
    expand_dims,
    pad,
    padv2,
    strided_slice,
    strided_slice_shrunk,
    slice_,
    split,
    transpose,
    logistic,
    tanh,
    relu,
    relu6,
    resize,
    depth_to_space,
    space_to_depth,
    requantize,
    pack,
    unpack,
    padded_conv,
    conv_over_blocks,
    depthwise_over_blocks,
]
OF_INT8: list[Callable[[Drawing], int]] = [  # LiteRT has them of int8 alone
    gelu,
    gelu_by_tanh,
    rsqrt,
    prelu,
    prelu_of_elements,
    squared_difference,
    mirror_pad,
    gather,
    batch_matmul,
    batch_matmul_turned,
    reduce_max,
    tile,
    broadcast_to,
    selu,
    relu_with_threshold,
    equal,
    not_equal,
    less,
    less_equal,
    greater_equal,
]
OF_FLOAT: list[Callable[[Drawing], int]] = [
    gelu, gelu_by_tanh, squared_difference, mirror_pad, gather, batch_matmul, batch_matmul_turned, reduce_max,
    square, power, tile, broadcast_to, selu, relu_with_threshold, equal, not_equal, less, less_equal, greater_equal,
]  # fmt: skip
EXACT = {
    max_pool, concatenation, squeeze, expand_dims, pad, padv2, strided_slice, slice_, resize, depth_to_space,
    space_to_depth, pack, reduce_max, broadcast_to,
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, dtype) for case in CASES for dtype in ("int8", "uint8")] + [(case, "int8") for case in OF_INT8],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_an_operator_agrees_with_litert(case: Callable[[Drawing], int], dtype: str) -> None:
    drawing = Drawing(dtype, seed=sum(map(ord, case.__name__)))
    model = drawing.bytes(case(drawing))
    session = furc.Session(furc.compile(model))
    for seed in range(3):
        inputs = data_for(model, seed)
        mine, theirs = session.run(inputs), litert(model, inputs)
        assert mine.keys() == theirs.keys()
        for name, array in theirs.items():
            assert mine[name].shape == array.shape and mine[name].dtype == array.dtype
            distance = np.abs(mine[name].astype(int) - array.astype(int))
            assert distance.max() <= (0 if case in EXACT else 1), np.bincount(distance.ravel())


@pytest.mark.parametrize(("axes", "left"), [((1, 2), (1, 4)), ((3,), (1, 6, 5)), ((1, 3), (1, 5))])
def test_a_sum_agrees_with_the_fast_kernel(axes: tuple[int, ...], left: tuple[int, ...]) -> None:
    """LiteRT's reference kernel gives other numbers than the sum."""
    drawing = Drawing()
    y = drawing.activation(left, 0.3, 0)
    model = drawing.bytes(drawing.op("SUM", (drawing.input((1, 6, 5, 4)), drawing.ints(*axes)), (y,), "ReducerOptions"))
    inputs = data_for(model)
    (mine,), (theirs,) = (
        list(run.values())
        for run in (furc.Session(furc.compile(model)).run(inputs), litert(model, inputs, OpResolverType.BUILTIN))
    )
    assert mine.shape == theirs.shape and np.abs(mine.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("case", [conv, padded_conv, max_pool, transpose_conv, mirror_pad, reduce_max, tile])
def test_images_are_turned_by_the_host(case: Callable[[Drawing], int]) -> None:
    drawing = Drawing()
    enf = furc.compile(drawing.bytes(case(drawing)))
    assert not [o for o in enf.operators if o.name == "LowLevelTranspose"]
    assert {o.name for step in enf.host_steps for o in step.operators} <= {"Lower", "Unlower"}
