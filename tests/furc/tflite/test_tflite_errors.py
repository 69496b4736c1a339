"""What is wrong with a TFLite model is said with the operator; a damaged file is an error, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_tflite_open import CASES as OPEN
from test_tflite_operators import CASES as OPERATORS
from test_tflite_operators import OF_INT8, conv_over_blocks
from tflite_models import Drawing

import furc
from furc.tflite.convert import to_onnx
from isa.errors import FurcError, LowerError, SourceError


def small() -> bytes:
    d = Drawing("int8")
    x = d.conv(d.input((1, 6, 5, 4)), 4)
    flat = d.op("RESHAPE", (x, d.ints(1, 120)), (d.activation((1, 120), 0.2),), "ReshapeOptions", newShape=[1, 120])
    return d.bytes(flat)


def test_unknown_operators_are_told_all_at_once() -> None:
    d = Drawing()
    x = d.input((1, 6, 5, 4))
    first = d.op("FLOOR", (x,), (d.activation((1, 6, 5, 4), name="a"),))
    d.op("CEIL", (first,), (d.activation((1, 6, 5, 4), name="b"),))
    with pytest.raises(LowerError) as caught:
        furc.compile(d.bytes(3 - 1))
    assert str(caught.value).startswith("error[UnsupportedOperator]: node 'FLOOR 0 a': FLOOR has no counterpart")
    assert "also: the same holds for 'CEIL 1 b'" in str(caught.value)
    assert caught.value.hint


def test_blocks_around_no_convolution_are_refused_with_the_way_out() -> None:
    drawing = Drawing()
    blocks, none = drawing.ints(2, 2), drawing.ints([0, 0], [0, 0])
    made = (drawing.activation((4, 2, 2, 3)),)
    model = drawing.bytes(drawing.op("SPACE_TO_BATCH_ND", (drawing.input((1, 4, 4, 3)), blocks, none), made))
    with pytest.raises(LowerError) as caught:
        furc.compile(model)
    assert caught.value.name == "UnsupportedOperator" and "fixed batch" in str(caught.value.hint)


def test_a_contradiction_names_the_operator() -> None:
    d = Drawing()
    y = d.op(
        "RESHAPE", (d.input((1, 6)), d.ints(1, 7)), (d.activation((1, 7), name="y"),), "ReshapeOptions", newShape=[1, 7]
    )
    with pytest.raises(
        SourceError, match=r"^error\[InvalidGraph\]: node 'RESHAPE 0 y': RESHAPE: \[1, 6\] does not fit"
    ):
        to_onnx(d.bytes(y))


def test_an_int16_activation_is_refused() -> None:
    d = Drawing()
    d.graph.inputs.append(d.tensor((1, 4), dtype="int8", name="x"))
    y = d.tensor((1, 4), dtype="int32", name="y")
    d.op("RELU", (0,), (y,))
    with pytest.raises(LowerError, match=r"^error\[UnquantizedTensor\]: node 'input x': 'x' is int8 with 0 scales"):
        to_onnx(d.bytes(y))


def test_a_float_model_is_sent_to_the_quantizer(tmp_path: Path) -> None:
    d = Drawing("float32")
    file = tmp_path / "float.tflite"
    file.write_bytes(d.bytes(d.conv(d.input((1, 6, 5, 4)), 4)))
    with pytest.raises(SourceError) as caught:
        furc.compile(file)
    assert caught.value.name == "FloatModel"
    assert f"furc quantize {file}" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\x10\0\0\0TFL3" + b"\xff" * 64])
def test_what_is_no_model_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.tflite"
    file.write_bytes(data)
    with pytest.raises(SourceError, match=r"^error\[NotTflite\]"):
        furc.compile(file)


@pytest.mark.parametrize("case", [*OPERATORS, *OF_INT8, *OPEN], ids=lambda case: case.__name__)
def test_an_operand_that_is_left_out_is_an_error_or_was_none_too_many(case: Callable[[Drawing], int]) -> None:
    drawing = Drawing()
    y = case(drawing)
    for operator in drawing.graph.operators:
        whole = list(operator.inputs)
        for index in range(len(whole)):
            operator.inputs = [*whole[:index], -1, *whole[index + 1 :]]
            try:
                to_onnx(drawing.bytes(y))
            except FurcError as error:
                assert error.message
        operator.inputs = whole


@pytest.mark.parametrize("case", [None, conv_over_blocks, *OPEN], ids=lambda case: getattr(case, "__name__", "small"))
def test_damage_anywhere_is_an_error_or_another_model(case: Callable[[Drawing], int] | None) -> None:
    drawing, random = Drawing(), np.random.default_rng(1)
    model = small() if case is None else drawing.bytes(case(drawing))
    for _ in range(600):
        data = bytearray(model)
        for _ in range(int(random.integers(1, 4))):
            data[int(random.integers(len(data)))] = int(random.integers(256))
        cut = int(random.integers(len(data))) if random.random() < 0.2 else len(data)
        try:
            to_onnx(bytes(data[:cut]), "damaged.tflite")
        except FurcError as error:
            assert error.message


def test_an_image_that_says_it_is_none_is_a_contradiction() -> None:
    d = Drawing()
    y = d.conv(d.input((1, 6, 5, 4)), 4)
    d.graph.tensors[y].shape = [1, 120]
    with pytest.raises(SourceError, match=r"^error\[InvalidGraph\]: node 'CONV_2D 0 t\d': 't\d' is \[1, 120\]"):
        to_onnx(d.bytes(y))


def reduced_condition(d: Drawing) -> int:
    """A condition for each image of a batch, which SELECT knows and ONNX does not."""
    a, b = d.input((1, 6)), d.input((1, 6))
    condition = d.op("GREATER", (a, b), (d.tensor((1, 6), dtype="bool"),))
    flat = d.op("RESHAPE", (condition, d.ints(6)), (d.tensor((6,), dtype="bool"),))
    return d.op("SELECT", (flat, a, b), (d.activation((1, 6)),))


def numbers_as_condition(d: Drawing) -> int:
    return d.op("SELECT_V2", (d.input((1, 6)), d.input((1, 6)), d.input((1, 6))), (d.activation((1, 6)),))


def one_compared(d: Drawing) -> int:
    return d.op("GREATER", (d.input((1, 6)),), (d.tensor((1, 6), dtype="bool"),))


def numbers_from_a_comparison(d: Drawing) -> int:
    return d.op("LESS", (d.input((1, 6)), d.input((1, 6))), (d.activation((1, 6)),))


def cast_of_numbers(d: Drawing) -> int:
    return d.op("CAST", (d.input((1, 6)),), (d.tensor((1, 6), dtype="float32"),))


@pytest.mark.parametrize(
    ("case", "name", "message"),
    [
        (reduced_condition, "UnsupportedOperator", "SELECT of whole images by a condition for each"),
        (numbers_as_condition, "InvalidGraph", "SELECT_V2: a condition of int8"),
        (numbers_from_a_comparison, "InvalidGraph", "LESS: a condition of int8"),
        (one_compared, "InvalidGraph", "GREATER: 1 operands, expected 2"),
        (cast_of_numbers, "UnsupportedOperator", "CAST of int8 to float32 does not run on the NPU"),
    ],
)
def test_conditions_are_what_comparisons_make(case: Callable[[Drawing], int], name: str, message: str) -> None:
    drawing = Drawing()
    with pytest.raises(FurcError) as caught:
        to_onnx(drawing.bytes(case(drawing)))
    assert caught.value.name == name and caught.value.message.startswith(message)
