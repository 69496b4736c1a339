"""The arithmetic against ONNX Runtime's own quantized kernels, which define it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from isa.execute import numerics
from isa.execute.numerics import BinaryScales, Geometry

I8 = TensorProto.INT8


def run_onnx(
    op: str, feeds: dict[str, np.ndarray], inputs: list[str], domain: str = "", **attributes: Any
) -> np.ndarray:
    """One node, run by ONNX Runtime; inputs that are no feed are left out with an empty name."""
    node = helper.make_node(op, inputs, ["y"], domain=domain, **attributes)
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()
    ]
    like = next(iter(feeds.values())).dtype
    result = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(like), None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "g", values, [result]), opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, feeds)
    assert isinstance(y, np.ndarray)
    return y


def int8(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-128, 128, shape, np.int8)


def scale(rng: np.random.Generator) -> np.float32:
    return np.float32(rng.uniform(0.002, 0.1))


def f32(value: float | np.float32) -> np.ndarray:
    return np.array(value, np.float32)


def i8(value: int) -> np.ndarray:
    return np.array(value, np.int8)


@st.composite
def geometries(draw: st.DrawFn, *, dilated: bool = True) -> tuple[Geometry, tuple[int, int], tuple[int, int, int, int]]:
    """A kernel, the input extents it slides over, and the pads (top, left, bottom, right)."""
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2))) if dilated else (1, 1)
    pads = tuple(draw(st.integers(0, k - 1)) for k in (*kernel, *kernel))
    extents = [
        draw(st.integers(max(1, (k - 1) * d + 1 - before - after), 12))
        for k, d, before, after in zip(kernel, dilation, pads[:2], pads[2:], strict=True)
    ]
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    g = Geometry(kernel=kernel, stride=stride, pad_top=pads[0], pad_left=pads[1], dilation=dilation)
    return g, (extents[0], extents[1]), (pads[0], pads[1], pads[2], pads[3])


def attributes(g: Geometry, pads: tuple[int, int, int, int], *, dilations: bool = True) -> dict[str, Any]:
    extra = {"dilations": g.dilation} if dilations else {}
    return {"kernel_shape": g.kernel, "strides": g.stride, "pads": pads, **extra}


def out_extents(g: Geometry, extents: tuple[int, int], pads: tuple[int, int, int, int]) -> tuple[int, int]:
    rows, columns = (
        (e + pads[a] + pads[a + 2] - (g.kernel[a] - 1) * g.dilation[a] - 1) // g.stride[a] + 1
        for a, e in enumerate(extents)
    )
    return rows, columns


@settings(max_examples=60, deadline=None)
@given(geometries(), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_contract_and_requantize_equal_qlinearconv(
    case: tuple[Geometry, tuple[int, int], tuple[int, int, int, int]], groups: int, cg: int, og: int, seed: int
) -> None:
    g, extents, pads = case
    rng = np.random.default_rng(seed)
    x, w = int8(rng, 2, groups * cg, *extents), int8(rng, groups * og, cg, *g.kernel)
    bias = rng.integers(-5000, 5000, groups * og, np.int32)
    sx, sy, zx, zy = scale(rng), scale(rng), int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    sw = rng.uniform(0.002, 0.02, groups * og).astype(np.float32)
    feeds = {
        "x": x, "sx": f32(sx), "zx": i8(zx), "w": w, "sw": sw, "zw": np.zeros(groups * og, np.int8), "sy": f32(sy),
        "zy": i8(zy), "b": bias,
    }  # fmt: skip
    wanted = run_onnx("QLinearConv", feeds, list(feeds), group=groups, **attributes(g, pads))
    out = out_extents(g, extents, pads)
    acc = numerics.contract(x, w, zx, g, out, groups) + bias.reshape(1, -1, 1, 1)
    assert np.array_equal(numerics.requantize(acc, sx * sw / sy, zy, -128, 127), wanted)


@pytest.mark.parametrize(("kind", "op"), [("add", "QLinearAdd"), ("mul", "QLinearMul")])
@pytest.mark.parametrize("seed", range(5))
def test_binary_equals_onnx_runtime_in_all_pairs_of_int8(kind: Any, op: str, seed: int) -> None:
    """Add bit for bit in its QDQ form, Mul within 1 LSB: its kernel multiplies the scales first."""
    rng = np.random.default_rng(seed)
    values = np.arange(-128, 128, dtype=np.int8)
    a, b = values.reshape(1, 1, 256, 1), values.reshape(1, 1, 1, 256)
    za, zb, zy = (int(z) for z in rng.integers(-60, 60, 3))
    sa, sb, sy = scale(rng), scale(rng), scale(rng)
    feeds = {
        "a": a, "sa": f32(sa), "za": i8(za), "b": b, "sb": f32(sb), "zb": i8(zb), "sy": f32(sy), "zy": i8(zy),
    }  # fmt: skip
    scales = BinaryScales(sa=float(sa), za=za, sb=float(sb), zb=zb, sy=float(sy), zy=zy)
    mine = numerics.binary(kind, a, b, scales).astype(np.int16)
    theirs = run_onnx(op, feeds, list(feeds), domain="com.microsoft").astype(np.int16)
    assert np.abs(mine - theirs).max() <= 1
    if kind == "add":
        assert np.array_equal(mine, _qdq_add(a, b, scales))


def _qdq_add(a: np.ndarray, b: np.ndarray, s: BinaryScales) -> np.ndarray:
    """DequantizeLinear, Add, QuantizeLinear as ONNX Runtime runs them without fusing."""
    left = run_onnx_float(a, s.sa, s.za)
    right = run_onnx_float(b, s.sb, s.zb)
    total = run_onnx("Add", {"a": left, "b": right}, ["a", "b"])
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    return _single(node, {"x": total, "s": f32(s.sy), "z": i8(s.zy)}, I8).astype(np.int16)


def run_onnx_float(x: np.ndarray, scale_: float, zero: int) -> np.ndarray:
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"])
    return _single(node, {"x": x, "s": f32(scale_), "z": i8(zero)}, TensorProto.FLOAT)


def _single(node: onnx.NodeProto, feeds: dict[str, np.ndarray], result: int) -> np.ndarray:
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()
    ]
    graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", result, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, feeds)
    assert isinstance(y, np.ndarray)
    return y


@settings(max_examples=40, deadline=None)
@given(geometries(), st.integers(0, 99))
def test_max_pool_equals_onnx_runtime(
    case: tuple[Geometry, tuple[int, int], tuple[int, int, int, int]], seed: int
) -> None:
    g, extents, pads = case
    x = int8(np.random.default_rng(seed), 2, 3, *extents)
    wanted = run_onnx("MaxPool", {"x": x}, ["x"], **attributes(g, pads))
    out = out_extents(g, extents, pads)
    assert np.array_equal(numerics.max_pool(x, g, out, -128, 127), wanted)
    assert np.array_equal(numerics.max_pool(x, g, out, -5, 9), np.clip(wanted, -5, 9))


@settings(max_examples=40, deadline=None)
@given(geometries(dilated=False), st.booleans(), st.integers(0, 99))
def test_average_pool_is_within_one_of_onnx_runtime(
    case: tuple[Geometry, tuple[int, int], tuple[int, int, int, int]], padded: bool, seed: int
) -> None:
    g, extents, pads = case
    rng = np.random.default_rng(seed)
    x, sx, sy = int8(rng, 2, 3, *extents), scale(rng), scale(rng)
    zx, zy = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    feeds = {"x": x, "sx": f32(sx), "zx": i8(zx), "sy": f32(sy), "zy": i8(zy)}
    wanted = run_onnx(
        "QLinearAveragePool", feeds, list(feeds), domain="com.microsoft", count_include_pad=int(padded),
        **attributes(g, pads, dilations=False),
    )  # fmt: skip
    out = out_extents(g, extents, pads)
    mine = numerics.average_pool(x, g, out, sx=float(sx), zx=zx, sy=float(sy), zy=zy, padded=padded)
    assert np.abs(mine.astype(int) - wanted.astype(int)).max() <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3), st.integers(0, 99))
def test_a_contraction_with_inserted_zeros_is_a_transposed_convolution(
    k: int, up: int, pad: int, groups: int, seed: int
) -> None:
    pad = min(pad, k - 1)
    rng = np.random.default_rng(seed)
    x, zx = int8(rng, 1, 2 * groups, 4, 5), int(rng.integers(-128, 128))
    w = int8(rng, 2 * groups, 3, k, k)  # (in, out / groups, kh, kw)
    out = (3 * up - 2 * pad + k, 4 * up - 2 * pad + k)
    if min(out) < 1:
        return
    feeds = {"x": (x.astype(np.float32) - zx), "w": w.astype(np.float32)}
    wanted = run_onnx("ConvTranspose", feeds, ["x", "w"], strides=[up, up], pads=[pad] * 4, group=groups)
    flipped = w.reshape(groups, 2, 3, k, k).transpose(0, 2, 1, 3, 4)[..., ::-1, ::-1].reshape(3 * groups, 2, k, k)
    g = Geometry(kernel=(k, k), pad_top=k - 1 - pad, pad_left=k - 1 - pad, up=up)
    mine = numerics.contract(x, np.ascontiguousarray(flipped), zx, g, out, groups)
    assert np.array_equal(mine, wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 3), st.integers(-9, 9), st.integers(1, 3), st.integers(1, 9), st.integers(1, 4)
)
def test_spreading_places_each_element_where_its_index_says(
    extent: int, up: int, pad: int, stride: int, out: int, kernel: int
) -> None:
    g = Geometry(kernel=(1, kernel), stride=(1, stride), pad_left=pad, up=up)
    x = np.arange(1, extent + 1, dtype=np.int8).reshape(1, 1, 1, extent)
    need = (out - 1) * stride + kernel
    wanted = np.full(need, -7, np.int8)
    for i in range(extent):
        if 0 <= pad + i * up < need:
            wanted[pad + i * up] = i + 1
    assert np.array_equal(numerics.spread(x, g, (1, out), -7)[0, 0, 0], wanted)


def test_rounding_is_half_to_even_and_saturates() -> None:
    acc = np.array([1, 3, 5, -1, -3, 1000, -1000], np.int32).reshape(1, 1, 1, -1)
    result = numerics.requantize(acc, np.array([0.5], np.float32), 0, -128, 127)
    assert result.reshape(-1).tolist() == [0, 2, 2, 0, -2, 127, -128]


def test_a_large_contraction_is_exact() -> None:
    """Every sum at the edge of what float32 could not hold."""
    channels = 4096
    x, w = np.full((1, channels, 3, 3), -128, np.int8), np.full((1, channels, 3, 3), -128, np.int8)
    acc = numerics.contract(x, w, 127, Geometry(kernel=(3, 3)), (1, 1))
    assert acc.item() == 255 * 128 * channels * 9


def test_lookup_indexes_by_value_plus_128() -> None:
    table = np.random.default_rng(0).permutation(np.arange(-128, 128)).astype(np.int8)
    x = np.arange(-128, 128, dtype=np.int8)
    assert np.array_equal(numerics.lookup(x, table), table)
