"""Files that leave extents open, as converters write them of models whose batch is not fixed: the batch is 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tflite_models import Drawing, data_for, litert

import furc
from isa.errors import LowerError, SourceError


def opened(d: Drawing, number: int, *axes: int) -> int:
    """What a converter states of a tensor whose extents it does not know."""
    tensor = d.graph.tensors[number]
    tensor.shapeSignature = [-1 if axis in axes else extent for axis, extent in enumerate(tensor.shape)]
    tensor.shape = [1 if axis in axes else extent for axis, extent in enumerate(tensor.shape)]
    return number


def extents(d: Drawing, x: int) -> int:
    """The shape of a tensor, asked for while the model runs."""
    made = d.tensor((len(d.graph.tensors[x].shape),), dtype="int32")
    return d.op("SHAPE", (x,), (made,), "ShapeOptions", outType=2)


def batch_and(d: Drawing, x: int, *rest: int) -> int:
    """[the batch of x, *rest], as Keras' Flatten, Reshape and Conv2DTranspose compute it."""
    batch = d.op("STRIDED_SLICE", (extents(d, x), d.ints(0), d.ints(1), d.ints(1)), (d.tensor((), dtype="int32"),),
                 "StridedSliceOptions", shrinkAxisMask=1)  # fmt: skip
    parts = (batch, *map(d.scalar, rest))
    return d.op("PACK", parts, (d.tensor((len(parts),), dtype="int32"),), "PackOptions", valuesCount=len(parts))


def dense(d: Drawing, x: int, inner: int, y: int) -> int:
    channels = d.graph.tensors[y].shape[-1]
    weights = d.tensor((channels, inner), 0.01, 0, data=d.random.integers(-127, 128, (channels, inner)).astype(np.int8))
    return d.op("FULLY_CONNECTED", (x, weights, -1), (y,), "FullyConnectedOptions")


def flatten_and_dense(d: Drawing) -> int:
    x = opened(d, d.conv(opened(d, d.input((1, 6, 5, 3)), 0), 4), 0)
    flat = opened(d, d.activation((1, 120), 0.2), 0)
    d.op("RESHAPE", (x, batch_and(d, x, 120)), (flat,))
    return dense(d, flat, 120, opened(d, d.activation((1, 7), 0.4), 0))


def transpose_conv(d: Drawing) -> int:
    x = opened(d, d.input((1, 5, 4, 6)), 0)
    weights, _ = d.weights((3, 3, 3, 6), 3, 0)
    y = opened(d, d.activation((1, 10, 8, 3), 0.2), 0)
    return d.op("TRANSPOSE_CONV", (batch_and(d, x, 10, 8, 3), weights, x), (y,), "TransposeConvOptions",
                strideH=2, strideW=2, padding=0)  # fmt: skip


def dense_of_three_axes(d: Drawing) -> int:
    """Keras' Dense behind a sequence: rows and columns of its operand are products of extents."""
    x = opened(d, d.input((1, 7, 20)), 0)
    shape = extents(d, x)

    def taken(*at: int) -> int:
        return d.op("GATHER", (shape, d.ints(*at)), (d.tensor((len(at),), dtype="int32"),), "GatherOptions")

    def product(of: int) -> int:
        return d.op("REDUCE_PROD", (of, d.ints(0)), (d.tensor((), dtype="int32"),), "ReducerOptions")

    kept = taken(0, 1)
    rows, columns = product(kept), product(taken(2))
    full = d.op("CONCATENATION", (kept, d.ints(16)), (d.tensor((3,), dtype="int32"),), "ConcatenationOptions")
    both = d.op("PACK", (rows, columns), (d.tensor((2,), dtype="int32"),), "PackOptions", valuesCount=2)
    flat = d.op("RESHAPE", (x, both), (opened(d, d.activation((7, 20)), 0, 1),))
    made = dense(d, flat, 20, opened(d, d.activation((7, 16), 0.2), 0))
    return d.op("RESHAPE", (made, full), (opened(d, d.activation((1, 7, 16), 0.2), 0),))


def rows_that_a_reshape_opens(d: Drawing) -> int:
    """What comes behind has open rows, too: a convolution, a sum with a fixed image, a transposition."""
    x = opened(d, d.input((1, 24, 5, 3)), 0)
    image = opened(d, d.activation((1, 12, 10, 3)), 0, 1)
    d.op("RESHAPE", (x, batch_and(d, x, 12, 10, 3)), (image,))
    made = opened(d, d.conv(image, 4, stride=2, scale=0.2), 0, 1)
    total = opened(d, d.activation((1, 6, 5, 4), 0.4), 0, 1)
    d.op("ADD", (made, d.input((1, 6, 5, 4))), (total,), "AddOptions")
    return d.op("TRANSPOSE", (total, d.ints(0, 3, 1, 2)), (opened(d, d.activation((1, 4, 6, 5), 0.4), 0, 2),))


def pixels_as_a_sequence(d: Drawing) -> int:
    """tf.reshape(x, [shape[0], shape[1] * shape[2] + 6 - 6, channels]), as attention over an image is written."""
    x = opened(d, d.input((1, 6, 5, 4)), 0)
    shape, six = extents(d, x), d.scalar(6)

    def computed(op: str, *operands: int) -> int:
        return d.op(op, operands, (d.tensor((), dtype="int32"),), f"{op.capitalize()}Options")

    def extent(axis: int) -> int:
        return d.op("STRIDED_SLICE", (shape, d.ints(axis), d.ints(axis + 1), d.ints(1)), (d.tensor((), dtype="int32"),),
                    "StridedSliceOptions", shrinkAxisMask=1)  # fmt: skip

    rows = computed("SUB", computed("ADD", computed("MUL", extent(1), extent(2)), six), six)
    parts = (extent(0), rows, d.scalar(4))
    both = d.op("PACK", parts, (d.tensor((3,), dtype="int32"),), "PackOptions", valuesCount=3)
    return d.op("RESHAPE", (x, both), (opened(d, d.activation((1, 30, 4)), 0, 1),))


def dilated_conv_of_one_axis(d: Drawing, scale: float = 0.2) -> int:
    """Keras' Conv1D with dilation_rate=3 and padding="same": blocks around an image of one row, a bias behind."""
    x = opened(d, d.input((1, 11, 4)), 0)
    blocks = opened(d, d.activation((3, 6, 4)), 0)
    d.op("SPACE_TO_BATCH_ND", (x, d.ints(3), d.ints([3, 4])), (blocks,))
    row = opened(d, d.activation((3, 1, 6, 4)), 0)
    d.op("EXPAND_DIMS", (blocks, d.ints(-3)), (row,), "ExpandDimsOptions")
    weights, own = d.weights((6, 1, 3, 4), 6, 0)
    made = opened(d, d.activation((3, 1, 4, 6), 0.2), 0)
    d.op("CONV_2D", (row, weights, d.bias(6, np.float32(0.05) * own)), (made,), "Conv2DOptions", strideH=1, strideW=1,
         dilationHFactor=1, dilationWFactor=1, padding=1)  # fmt: skip
    flat = opened(d, d.activation((3, 4, 6), scale), 0)
    d.op("SQUEEZE", (made,), (flat,), "SqueezeOptions", squeezeDims=[-3])
    y = opened(d, d.activation((1, 11, 6), scale), 0)
    d.op("BATCH_TO_SPACE_ND", (flat, d.ints(3), d.ints([0, 1])), (y,))
    bias = d.tensor((6,), 0.02, 3, data=d.random.integers(-128, 128, 6).astype(np.int8))
    return d.op(
        "ADD", (y, bias), (opened(d, d.activation((1, 11, 6), 0.2), 0),), "AddOptions", fusedActivationFunction=1
    )


CASES = (flatten_and_dense, transpose_conv, dense_of_three_axes, rows_that_a_reshape_opens, pixels_as_a_sequence,
         dilated_conv_of_one_axis)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_extents_that_are_computed_are_found(case: Callable[[Drawing], int]) -> None:
    drawing = Drawing("int8")
    model = drawing.bytes(case(drawing))
    session, inputs = furc.Session(furc.compile(model)), data_for(model)
    ours, theirs = session.run(inputs), litert(model, inputs)
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape
        assert np.abs(ours[name].astype(int) - expected).max() <= 1


def test_a_dilated_conv_of_one_axis_is_one_operator_of_the_npu() -> None:
    drawing = Drawing()
    enf = furc.compile(drawing.bytes(dilated_conv_of_one_axis(drawing)))
    assert [o.name for o in enf.operators if "Conv" in o.name] == ["LowLevelConv2d"]
    assert {o.name for step in enf.host_steps for o in step.operators} <= {"Lower", "Unlower"}


def test_blocks_that_another_grid_leaves_are_refused() -> None:
    drawing = Drawing()
    with pytest.raises(LowerError) as caught:
        furc.compile(drawing.bytes(dilated_conv_of_one_axis(drawing, scale=0.25)))
    assert caught.value.name == "UnsupportedOperator" and "fixed batch" in str(caught.value.hint)


@pytest.mark.parametrize("axes", [(1,), (0, 1, 2)])
def test_an_image_of_open_size_is_refused(axes: Sequence[int]) -> None:
    """The file says 1 x 1 there, and no image is that small."""
    drawing = Drawing("int8")
    model = drawing.bytes(drawing.conv(opened(drawing, drawing.input((1, 9, 8, 3)), *axes), 4))
    with pytest.raises(SourceError) as caught:
        furc.compile(model)
    assert caught.value.name == "DynamicShape"
    assert "fixed shape" in str(caught.value)


@pytest.mark.parametrize("mask", ["newAxisMask", "ellipsisMask"])
def test_a_new_axis_of_extents_is_refused(mask: str) -> None:
    """It had been a slice, here of nothing."""
    drawing = Drawing("int8")
    x = opened(drawing, drawing.input((1, 6, 5, 4)), 0)
    operands = (extents(drawing, x), drawing.ints(0), drawing.ints(0), drawing.ints(1))
    made = drawing.tensor((1, 4), dtype="int32")
    shape = drawing.op("STRIDED_SLICE", operands, (made,), "StridedSliceOptions", **{mask: 1})
    model = drawing.bytes(drawing.op("RESHAPE", (x, shape), (opened(drawing, drawing.activation((1, 6, 5, 4)), 0),)))
    with pytest.raises(LowerError) as caught:
        furc.compile(model)
    assert caught.value.message == "STRIDED_SLICE of extents with an ellipsis or a new axis is not read"


def test_a_shape_as_output_is_refused() -> None:
    drawing = Drawing("int8")
    x = drawing.conv(opened(drawing, drawing.input((1, 9, 8, 3)), 0), 4)
    model = drawing.bytes(x, extents(drawing, x))
    with pytest.raises(LowerError) as caught:
        furc.compile(model)
    assert caught.value.name == "ConstantOutput"
