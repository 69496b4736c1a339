"""Operators that move elements: exact, on the int8 values themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qdq_models import Qdq, agree, mnemonics

Move = Callable[[Qdq, str], Any]
I64_MAX = 2**63 - 1

MOVES: dict[str, Move] = {
    "reshape": lambda m, x: m.node("Reshape", x, m.integers(0, -1, 3)),
    "flatten": lambda m, x: m.node("Flatten", x, axis=2),
    "flatten all": lambda m, x: m.node("Flatten", x, axis=0),
    "squeeze": lambda m, x: m.node("Squeeze", m.node("Unsqueeze", x, m.integers(1, -1)), m.integers(-1)),
    "unsqueeze": lambda m, x: m.node("Unsqueeze", x, m.integers(0, 3)),
    "transpose": lambda m, x: m.node("Transpose", x, perm=[0, 2, 3, 1]),
    "transpose reversed": lambda m, x: m.node("Transpose", x),
    "slice": lambda m, x: m.node("Slice", x, m.integers(1, -3), m.integers(100, -1), m.integers(1, 3)),
    "slice steps": lambda m, x: m.node("Slice", x, m.integers(0), m.integers(I64_MAX), m.integers(2), m.integers(2)),
    "slice backwards": lambda m, x: m.node(
        "Slice", x, m.integers(-1, 9), m.integers(-I64_MAX, 0), m.integers(1, 2), m.integers(-1, -2)
    ),
    "gather one": lambda m, x: m.node("Gather", x, m.const(-2, np.int64), axis=1),
    "gather even steps": lambda m, x: m.node("Gather", x, m.integers(5, 3, 1), axis=1),
    "gather matrix": lambda m, x: m.node("Gather", x, m.const([[0, 1], [2, 3]], np.int64), axis=1),
    "expand": lambda m, x: m.node("Expand", m.node("Unsqueeze", x, m.integers(2)), m.integers(1, 1, 3, 1, 1)),
    "expand to more axes": lambda m, x: m.node("Expand", x, m.integers(2, 1, 1, 1, 1)),
    "tile": lambda m, x: m.node("Tile", x, m.integers(1, 2, 1, 3)),
    "depth to space": lambda m, x: m.node("DepthToSpace", m.node("Tile", x, m.integers(1, 2, 1, 1)), blocksize=2),
    "depth to space CRD": lambda m, x: m.node(
        "DepthToSpace", m.node("Tile", x, m.integers(1, 2, 1, 1)), blocksize=2, mode="CRD"
    ),
    "space to depth": lambda m, x: m.node("SpaceToDepth", x, blocksize=2),
    "pad": lambda m, x: m.node("Pad", x, m.integers(0, 1, 2, 0, 0, 0, 3, 1)),
    "pad with a value": lambda m, x: m.node("Pad", x, m.integers(0, 0, 1, 1, 0, 0, 1, 1), m.const(0.5, np.float32)),
    "pad cuts": lambda m, x: m.node("Pad", x, m.integers(0, 0, -1, 2, 0, -2, 0, -1)),
    "resize": lambda m, x: m.node(
        "Resize", x, "", m.const([1, 1, 2, 3], np.float32),
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "resize by half pixels": lambda m, x: m.node("Resize", x, "", "", m.integers(1, 6, 40, 32), mode="nearest"),
    "identity": lambda m, x: m.node("Identity", x),
    "dropout": lambda m, x: m.node("Dropout", x),
    "concat with itself": lambda m, x: m.node("Concat", x, m.node("Transpose", x, perm=[0, 1, 2, 3]), axis=2),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_moving_keeps_the_integers(kind: str, move: Move) -> None:
    m = Qdq(kind)
    m.output(m.quantized(move(m, m.float_input(1, 6, 10, 8)), 0.02, 3))
    assert "table" not in mnemonics(agree(m))


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_another_quantization_behind_is_a_table(move: Move) -> None:
    m = Qdq()
    m.quantized(move(m, m.float_input(1, 6, 10, 8)), 0.033, -9)
    assert "table" in mnemonics(agree(m, optimized=False))


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_a_convolution_is_quantized_before_its_result_moves(move: Move) -> None:
    """ONNX Runtime runs such a convolution in float, so ties may fall the other way."""
    m = Qdq()
    w = m.weights(6, 6, 1, 1)
    m.quantized(move(m, m.node("Relu", m.node("Conv", m.float_input(1, 6, 10, 8), w))), 0.033, -9)
    graph = agree(m, within=1)
    assert "table" not in mnemonics(graph)


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_a_float_input_may_move_before_it_is_quantized(move: Move) -> None:
    m = Qdq()
    m.inputs["image"] = ("float32", (1, 6, 10, 8))
    m.quantized(move(m, "image"), 0.033, -9)
    assert mnemonics(agree(m))[0] == "quantize"


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_integers_move_between_quantize_and_dequantize(kind: str) -> None:
    m = Qdq(kind)
    m.inputs["image"] = (kind, (1, 10, 8, 6))
    x = m.node("Transpose", "image", perm=[0, 3, 1, 2])
    x = m.node("Reshape", m.quantize(m.node("Relu", m.dequantize(x, 0.1, 5)), 0.2, -3), m.integers(1, -1))
    m.output(m.dequantize(x, 0.2, -3))
    agree(m)


@pytest.mark.parametrize("equal", [True, False])
def test_split(equal: bool) -> None:
    m = Qdq()
    x = m.float_input(1, 6, 10, 8)
    parts = m.several("Split", 3, x, axis=1) if equal else m.several("Split", 2, x, m.integers(1, 5), axis=1)
    for part in parts:
        m.output(m.quantized(part, 0.02, 3))
    assert mnemonics(agree(m)).count("slice") == len(parts)


def test_concat_requantizes_parts_of_other_scales() -> None:
    m = Qdq()
    parts = [m.float_input(1, 2, 5, 6), m.float_input(1, 3, 5, 6, scale=0.013), m.float_input(1, 1, 5, 6, zero=-11)]
    w = m.weights(4, 2, 1, 1)
    parts.append(m.node("Conv", parts[0], w))
    parts.append(m.node("Sigmoid", parts[1]))
    stored = m.const(m.rng.integers(0, 256, (1, 2, 5, 6)), np.uint8)
    parts.append(m.node("DequantizeLinear", stored, m.const(0.02, np.float32), m.const(100, np.uint8)))
    m.quantized(m.node("Concat", *parts, axis=1), 0.02, 3)
    graph = agree(m, within=1)
    assert mnemonics(graph).count("concat") == 1
    assert mnemonics(graph).count("table") == 3


def test_a_padding_value_that_its_operand_lacks_takes_the_next_quantization() -> None:
    m = Qdq()
    x = m.node("Pad", m.float_input(1, 2, 5, 6), m.integers(0, 0, 1, 1, 0, 0, 1, 1), m.const(40.25, np.float32))
    m.quantized(x, 0.25, -60)
    assert mnemonics(agree(m, optimized=False))[:3] == ["quantize", "table", "pad"]


def test_shapes_computed_in_the_graph_are_folded() -> None:
    """What PyTorch's exporter writes for x.view(x.size(0), -1)."""
    m = Qdq()
    x = m.float_input(1, 6, 10, 8)
    batch = m.node("Gather", m.node("Shape", x), m.const(0, np.int64), axis=0)
    rest = m.node("Constant", value_ints=[-1])
    to = m.node("Concat", m.node("Unsqueeze", batch, m.integers(0)), m.node("Cast", rest, to=7), axis=0)
    m.output(m.quantized(m.node("Reshape", x, to), 0.02, 3))
    assert mnemonics(agree(m))[:2] == ["quantize", "reshape"]


def test_old_opsets_keep_axes_and_bounds_in_attributes() -> None:
    m = Qdq(opset=10)
    x = m.node("Unsqueeze", m.float_input(1, 6, 10, 8), axes=[0])
    x = m.node("Clip", m.node("Squeeze", x, axes=[0]), min=0.25, max=1.5)
    x = m.quantized(m.node("Pad", x, pads=[0, 0, 1, 1, 0, 0, 0, 0], value=0.5), 0.02, 3)
    low, high = m.several("Split", 2, x, axis=1, split=[2, 4])
    x = m.quantized(m.node("Resize", high, m.const([1, 1, 2, 2], np.float32), mode="nearest"), 0.02, 3)
    m.quantized(low, 0.02, 3)
    agree(m, optimized=False)


def test_an_identity_is_no_op() -> None:
    m = Qdq("int8")
    x = m.node("Transpose", m.node("Reshape", m.float_input(1, 6), m.integers(1, 6)), perm=[0, 1])
    m.output(m.quantized(x, 0.02, 3))
    assert mnemonics(agree(m)) == ["quantize", "reshape", "dequantize"]  # the reshape names the second output


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_integer_inputs_are_used_as_they_are(kind: str) -> None:
    m = Qdq(kind)
    w = m.weights(4, 3, 3, 3)
    m.quantized(m.node("Conv", m.integer_input(1, 3, 8, 8), w, m.bias(w, 4)))
    graph = agree(m)
    assert mnemonics(graph) == (["recast", "conv2d", "recast"] if kind == "uint8" else ["conv2d"])
    assert graph.inputs[0].type.dtype.numpy == np.dtype(kind)


def test_an_image_scaled_in_the_graph() -> None:
    m = Qdq()
    m.inputs["image"] = ("uint8", (1, 3, 8, 8))
    m.quantized(m.node("Mul", m.node("Cast", "image", to=1), m.const(1 / 255, np.float32)), 1 / 255, -128)
    assert mnemonics(agree(m, optimized=False))[0] == "recast"
