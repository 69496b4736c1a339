"""Damaged ONNX, compiled and quantized: one FurcError that names the file, the node and the tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import furc
from furc.quantizer import QuantizeOptions, optimize_model, quantize_model, random_samples
from furc.zoo import digits
from isa.errors import FurcError

Damage = Callable[[onnx.ModelProto], None]
FAST = QuantizeOptions(method="MIN_MAX_ASYM")


@pytest.fixture(scope="module")
def whole() -> onnx.ModelProto:
    return digits.model()


@pytest.fixture(scope="module")
def int8(whole: onnx.ModelProto) -> onnx.ModelProto:
    return quantize_model(whole, random_samples(whole, 1), FAST)


def damaged(model: onnx.ModelProto, damage: Damage, folder: Path) -> Path:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    damage(copy)
    path = folder / "damaged.onnx"
    path.write_bytes(copy.SerializeToString())
    return path


def weights(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if len(t.dims) == 4)


def conv(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.op_type == "Conv")


def cut_data(model: onnx.ModelProto) -> None:
    weights(model).raw_data = weights(model).raw_data[:-3]


def other_dims(model: onnx.ModelProto) -> None:
    weights(model).dims[0] += 1


def huge_dims(model: onnx.ModelProto) -> None:
    weights(model).dims[:] = [1 << 40, 1 << 40]


def negative_dims(model: onnx.ModelProto) -> None:
    weights(model).dims[0] = -1


def type_99(model: onnx.ModelProto) -> None:
    weights(model).data_type = 99


def type_of_other_width(model: onnx.ModelProto) -> None:
    weights(model).data_type = TensorProto.DOUBLE


def data_twice(model: onnx.ModelProto) -> None:
    weights(model).int64_data.append(1)


def nan_attribute(model: onnx.ModelProto) -> None:
    conv(model).attribute.append(helper.make_attribute("alpha", float("nan")))


def external(key: str, value: str) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        tensor = weights(model)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for name, text in ({"location": "w.bin", "offset": "0", "length": "4"} | {key: value}).items():
            tensor.external_data.add(key=name, value=text)

    return damage


def input_dims(*dims: int) -> Damage:
    def damage(model: onnx.ModelProto) -> None:
        for dim, extent in zip(model.graph.input[0].type.tensor_type.shape.dim, dims, strict=True):
            dim.dim_value = extent

    return damage


def no_weights(model: onnx.ModelProto) -> None:
    del conv(model).input[1:]


def no_inputs(model: onnx.ModelProto) -> None:
    del conv(model).input[:]


def no_outputs(model: onnx.ModelProto) -> None:
    del conv(model).output[:]


def empty_list(model: onnx.ModelProto) -> None:
    pads = next(a for a in conv(model).attribute if a.name == "pads")
    del pads.ints[:]


def elements_99(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 99


def two_of_a_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(weights(model))


def outputs_of_a_name(model: onnx.ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])


# what is damaged, by which name the tensor or node is told
PLACES: list[tuple[Damage, str]] = [
    (cut_data, "initializer '"), (other_dims, "initializer '"), (huge_dims, "initializer '"),
    (negative_dims, "initializer '"), (type_99, "initializer '"), (type_of_other_width, "initializer '"),
    (data_twice, "initializer '"), (nan_attribute, "attribute 'alpha'"),
    (external("offset", "x"), "initializer '"), (external("offset", "-1"), "initializer '"),
    (external("offset", "9" * 30), "initializer '"), (external("length", "99"), "initializer '"),
    (external("location", "l" * 5000), "initializer '"), (external("location", "none.bin"), "'none.bin'"),
    (external("location", "../w.bin"), "initializer '"), (external("location", "a\0b"), "initializer '"),
    (input_dims(1 << 40, 1 << 40, 1, 1), "input 'images'"), (elements_99, "input 'images'"),
    (no_weights, ""), (no_inputs, ""), (no_outputs, ""), (empty_list, ""), (two_of_a_name, ""),
    (outputs_of_a_name, ""),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "place"), PLACES, ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.parametrize("form", ["float", "int8"])
def test_a_damaged_model_is_one_error_with_its_place(
    form: str, damage: Damage, place: str, whole: onnx.ModelProto, int8: onnx.ModelProto, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(b"four")
    (tmp_path / "none").mkdir()
    path = damaged(whole if form == "float" else int8, damage, tmp_path)
    with pytest.raises(FurcError) as caught:
        if form == "float":
            quantize_model(path, [], FAST)
        else:
            furc.compile(path)
    assert str(path) in str(caught.value.at)
    assert place in f"{caught.value.at} {caught.value.message}", str(caught.value)
    assert "\n" not in caught.value.message and len(caught.value.message) < 400


def test_a_bias_of_another_length_names_the_node(whole: onnx.ModelProto, tmp_path: Path) -> None:
    def damage(model: onnx.ModelProto) -> None:
        bias = next(t for t in model.graph.initializer if t.name == conv(model).input[2])
        bias.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), bias.name))

    path = damaged(whole, damage, tmp_path)
    with pytest.raises(FurcError) as caught:
        quantize_model(path, random_samples(whole, 1), FAST)
    assert str(path) in str(caught.value.at) and conv(whole).name in str(caught.value)


def test_a_name_that_is_not_text(int8: onnx.ModelProto, tmp_path: Path) -> None:
    data = int8.SerializeToString().replace(b"images_quantized", b"images\xff\xfeuantized")
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(FurcError, match=r"is not UTF-8"):
        furc.compile(tmp_path / "m.onnx")


def test_an_input_that_aborts_onnx_is_an_error() -> None:
    """The C++ inference ends the process on a Slice of an axis of negative extent, however that came about."""
    pads = numpy_helper.from_array(np.array([0, -10, 0, 0, 0, 0]), "p")
    ends = [numpy_helper.from_array(np.array([v]), name) for name, v in (("s", 0), ("e", 3), ("a", 1))]
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["q"], name="n"),
        helper.make_node("Slice", ["q", "s", "e", "a"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [pads, *ends])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(FurcError):
        optimize_model(model)


def test_weights_that_the_model_does_not_bring_along_are_never_read_from_here(
    whole: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model given as bytes or as an object has no folder."""
    monkeypatch.chdir(tmp_path)
    Path("w.bin").write_bytes(b"four")
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    external("length", "4")(model)
    weights(model).dims[:] = [1]
    for given in (model, model.SerializeToString()):
        with pytest.raises(FurcError, match="without its folder"):
            optimize_model(given)


def test_external_data_of_a_constant_node_is_read_beside_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nowhere else: not in the current directory."""
    value = TensorProto(name="v", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="c.bin")
    constant = helper.make_node("Constant", [], ["c"], name="the_constant")
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(value)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([constant, helper.make_node("Mul", ["x", "c"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.onnx").write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    Path("c.bin").write_bytes(np.float32(7).tobytes())
    with pytest.raises(FurcError, match="missing") as caught:
        optimize_model("model/m.onnx")
    assert "the_constant" in str(caught.value.at)
    (tmp_path / "model" / "c.bin").write_bytes(np.float32(3).tobytes())
    [held] = optimize_model("model/m.onnx").graph.initializer
    assert numpy_helper.to_array(held) == 3


def test_a_tflite_model_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    with pytest.raises(FurcError, match="NotTflite"):
        furc.compile(tmp_path / "m.tflite")


def test_a_node_without_a_name_is_told_by_what_it_makes(int8: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(int8)
    node = conv(model)
    node.name = ""
    next(a for a in node.attribute if a.name == "pads").ints[:] = [1, 2, 3]
    with pytest.raises(FurcError, match=f"node 'Conv that makes {node.output[0]}'"):
        furc.compile(model)


def refused_weights(value: np.ndarray) -> FurcError:
    """Of a convolution whose weights all have this value."""
    element = helper.np_dtype_to_tensor_dtype(value.dtype)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "the_conv")], "g",
        [helper.make_tensor_value_info("x", element, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", element, None)],
        [numpy_helper.from_array(np.broadcast_to(value, (4, 3, 3, 3)).copy(), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(FurcError) as caught:
        quantize_model(model, [{"x": np.zeros((1, 3, 8, 8), value.dtype)}], FAST)
    assert caught.value.at.nodes == ("the_conv",)
    return caught.value


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_not_blamed_on_the_data(value: float) -> None:
    error = refused_weights(np.array(value, np.float32))
    assert (error.name, error.message) == ("NotFinite", "the weights of Conv hold NaN or infinity")


def test_a_model_of_other_floats_is_told_so() -> None:
    """Not that it has nothing to quantize, or that ONNX Runtime lacks a kernel."""
    error = refused_weights(np.array(1, np.float64))
    assert error.name == "NotFloat32"
    assert error.message == "the weights of Conv are float64, what is quantized is float32"
