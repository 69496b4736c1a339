"""Convolutions, pools and sums of random shapes and grids against LiteRT: within 1 LSB."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_models import Drawing, data_for, litert

import furc

SOME = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SAME, VALID = 0, 1
ACTIVATIONS = [0, 1, 3]  # none, RELU, RELU6


def agrees(drawing: Drawing, output: int) -> None:
    model = drawing.bytes(output)
    inputs = data_for(model)
    mine, theirs = furc.Session(furc.compile(model)).run(inputs), litert(model, inputs)
    for name, array in theirs.items():
        assert mine[name].shape == array.shape
        assert np.abs(mine[name].astype(int) - array.astype(int)).max() <= 1


@SOME
@given(
    st.sampled_from(["int8", "uint8"]), st.integers(1, 12), st.integers(1, 12), st.integers(1, 9), st.integers(1, 12),
    st.integers(1, 5), st.integers(1, 3), st.integers(1, 2), st.sampled_from([SAME, VALID]), st.booleans(),
    st.sampled_from([0, 1, 2, 3]), st.integers(-128, 127), st.floats(0.05, 1.0), st.integers(0, 255),
)  # fmt: skip
def test_convolutions(
    dtype: str, height: int, width: int, channels: int, out: int, kernel: int, stride: int, dilation: int, padding: int,
    depthwise: bool, activation: int, zero: int, scale: float, weight_zero: int,
) -> None:  # fmt: skip
    span = (kernel - 1) * dilation + 1
    if dilation > 1:
        stride = 1  # TFLite has one or the other
    if depthwise and dtype == "uint8":
        dilation, span = 1, kernel  # docs/tflite.md
    if padding == VALID:
        height, width = height + span, width + span
    d = Drawing(dtype, seed=channels)
    x = d.input((1, height, width, channels), 0.04, zero)
    agrees(d, d.conv(x, channels * 2 if depthwise else out, kernel, stride, depthwise=depthwise, dilation=dilation,
                     padding=padding, activation=activation, scale=scale, zero=weight_zero))  # fmt: skip


@SOME
@given(
    st.sampled_from(["int8", "uint8"]), st.sampled_from(["ADD", "MUL", "SUB"]), st.booleans(), st.integers(-128, 127),
    st.integers(-128, 127), st.floats(0.01, 0.1), st.floats(0.01, 0.1), st.floats(0.05, 0.3),
    st.sampled_from(ACTIVATIONS),
)  # fmt: skip
def test_sums_and_products(
    dtype: str, op: str, constant: bool, za: int, zb: int, sa: float, sb: float, sy: float, activation: int
) -> None:
    d = Drawing(dtype, seed=3)
    a = d.input((1, 5, 4, 3), sa, za)
    if constant or op == "SUB":
        limits = np.iinfo(dtype)
        stored = d.random.integers(limits.min, limits.max + 1, (3,)).astype(dtype)
        b = d.tensor((3,), sb, zb + (128 if dtype == "uint8" else 0), data=stored)
    else:
        b = d.input((1, 5, 4, 3), sb, zb)
    kind = {"ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions"}[op]
    agrees(d, d.op(op, (a, b), (d.activation((1, 5, 4, 3), sy),), kind, fusedActivationFunction=activation))


@SOME
@given(
    st.sampled_from(["int8", "uint8"]), st.sampled_from(["MAX_POOL_2D", "AVERAGE_POOL_2D"]), st.integers(1, 12),
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.sampled_from([SAME, VALID]),
    st.sampled_from(ACTIVATIONS),
)  # fmt: skip
def test_pools(
    dtype: str, op: str, height: int, width: int, kernel: int, stride: int, padding: int, activation: int
) -> None:
    if padding == VALID:
        height, width = height + kernel, width + kernel
    out = [-(-s // stride) if padding == SAME else (s - kernel) // stride + 1 for s in (height, width)]
    d = Drawing(dtype)
    x = d.input((1, height, width, 5))
    agrees(d, d.op(op, (x,), (d.activation((1, *out, 5)),), "Pool2DOptions", strideH=stride, strideW=stride,
                   filterHeight=kernel, filterWidth=kernel, padding=padding,
                   fusedActivationFunction=activation))  # fmt: skip
