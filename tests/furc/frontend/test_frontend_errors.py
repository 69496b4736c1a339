"""What cannot be read or compiled: each message from its first character, its place and its hint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper
from qdq_models import Qdq

import furc
from furc.frontend import load_onnx
from isa.enf import HostOperator
from isa.errors import FurcError, LowerError, SourceError
from passes.analysis.host_share import calls, host_operators
from passes.dfg.legality import COUNTED, MAXIMA, MIRRORED, ORDER, SPATIAL, Rule, named, verdict


def small(kind: str = "uint8", opset: int = 13) -> Qdq:
    """A convolution, a pool, a table and an addition."""
    m = Qdq(kind, opset)
    w = m.weights(4, 3, 3, 3)
    x = m.quantized(m.node("Relu", m.node("Conv", m.float_input(1, 3, 8, 8), w, m.bias(w, 4))), 0.05, -128)
    pooled = m.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
    gate = m.quantized(m.node("Sigmoid", x), 1 / 255, -128)
    m.output(m.quantized(m.node("Add", pooled, gate)))
    return m


def failure(model: onnx.ModelProto | bytes | str | Path, **options: object) -> FurcError:
    with pytest.raises(FurcError) as caught:
        load_onnx(model, **{"source": "m.onnx", **options} if not isinstance(model, str | Path) else options)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def left(model: onnx.ModelProto) -> list[HostOperator]:
    """What of a model is on the host, in float."""
    graph = load_onnx(model, source="m.onnx", max_npu_segments="all")
    return [operator for call in calls(graph) for operator in host_operators(call, graph)]


def float_model(shape: list[int | str | None]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["y"], name="relu")], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_missing_file(tmp_path: Path) -> None:
    (tmp_path / "yolov8n.onnx").write_bytes(b"")
    error = failure(tmp_path / "yolov8.onnx")
    assert (error.name, error.message) == ("ModelNotFound", "no such file")
    assert error.hint == f"did you mean '{tmp_path / 'yolov8n.onnx'}'?"
    for name in ("r.onnx", "nothere.jpg"):  # alike by its suffix alone; no model
        (tmp_path / name).touch()
    assert failure(tmp_path / "nothere.onnx").hint == "check the path of the model"


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    error = failure(tmp_path)
    assert error.name == "ModelUnreadable"
    assert error.message.startswith("the file cannot be read: ")


@pytest.mark.parametrize("data", [b"", b"not a model at all", b"\x08\x07", b"PK\x03\x04" + bytes(40)])
def test_not_onnx(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    error = failure(tmp_path / "m.onnx")
    assert error.name == "NotOnnx"
    assert error.message.startswith("not an ONNX model: ")


def test_float_model_names_the_command(tmp_path: Path) -> None:
    error = failure(float_model([1, 3, 8, 8]))
    assert str(error) == (
        "error[FloatModel]: m.onnx: the model is float: it has no QuantizeLinear and DequantizeLinear\n"
        "  hint: furc quantize m.onnx -o m.int8.onnx --calibration-data DIR"
    )
    onnx.save(float_model([1, 3, 8, 8]), tmp_path / "my m.onnx")
    command = f"furc quantize '{tmp_path}/my m.onnx' -o 'my m.int8.onnx' --calibration-data DIR"
    assert failure(tmp_path / "my m.onnx").hint == command  # as a shell takes it


def test_model_with_the_vendors_ranges_must_have_them_all() -> None:
    model = float_model([1, 3, 8, 8])
    model.metadata_props.add(key="FurisoaAI.CalibrationResult", value="input: [0, 1]")
    error = failure(model)
    assert error.name == "MissingRange"


def with_open_input(*shape: int | str) -> tuple[onnx.ModelProto, str]:
    m = small()
    m.inputs["x_2"] = ("float32", shape)
    del m.inputs[next(iter(m.inputs))]
    name = next(iter(m.inputs))
    for node in m.nodes:
        node.input[:] = [name if i.startswith("x_") else i for i in node.input]
    return m.model(), name


def test_dynamic_shape_is_refused_and_fixed_by_an_option() -> None:
    model, name = with_open_input("batch_size", 3, "height", 8)
    error = failure(model)
    assert str(error) == (
        f"error[DynamicShape]: m.onnx: the static shape of tensor '{name}' contains an unsupported dimension value: "
        f'Some(DimParam("batch_size"))\n  hint: --input-shape {name}=1x3x640x8'
    )
    assert load_onnx(model, input_shapes={name: (2, 3, 8, 8)}).batch == 2
    assert failure(model, input_shapes={name: (2, 3, 8)}).name == "WrongShape"
    assert failure(model, input_shapes={name: (2, 3, 8, 9)}).message == "axis 3 is 8 in the model, 9 was asked for"
    error = failure(model, input_shapes={name + "x": (1,)})
    assert (error.name, error.hint) == ("UnknownInput", f"did you mean '{name}'?")


@pytest.mark.parametrize("extent", ["batch_size", -1])
def test_an_open_batch_is_the_compilers_to_choose(extent: int | str) -> None:
    """-1 is how some exporters write it."""
    model, name = with_open_input(extent, 3, 8, 8)
    assert load_onnx(model).inputs[0].type.shape == (1, 3, 8, 8)
    assert load_onnx(model, input_shapes={name: (2, 3, 8, 8)}).batch == 2
    assert furc.compile(model, batch_size=4).inputs[0].shape == (4, 3, 8, 8)


def test_input_without_any_shape() -> None:
    m = small()
    model = m.model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert failure(model).name == "DynamicShape"
    assert load_onnx(model, input_shapes={model.graph.input[0].name: (1, 3, 8, 8)}).inputs[0].type.shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("opset", "way_out"), [(9, "convert_version(model, 13)"), (24, "opset_version=23, or an older")]
)
def test_wrong_opset(opset: int, way_out: str) -> None:
    m = small()
    m.opset = opset
    error = failure(m.model())
    assert (error.name, error.message) == ("UnsupportedOpset", f"the model is of opset {opset}, furc reads 10 to 23")
    assert way_out in str(error.hint)


def test_external_data(tmp_path: Path) -> None:
    m = small()
    m.initializers = {n: np.array(a) for n, a in m.initializers.items()}
    model = m.model()
    external_data_helper.convert_model_to_external_data(model, location="w.bin", size_threshold=64)
    onnx.save(model, tmp_path / "m.onnx")
    assert [op.mnemonic for op in load_onnx(tmp_path / "m.onnx").ops][:2] == ["quantize", "conv2d"]
    (tmp_path / "w.bin").write_bytes(b"short")
    assert failure(tmp_path / "m.onnx").name in ("ExternalDataUnreadable", "InvalidGraph")
    (tmp_path / "w.bin").unlink()
    error = failure(tmp_path / "m.onnx")
    assert error.name == "ExternalDataMissing"
    assert error.message == "its data is in 'w.bin', which is missing"


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    model = small().model()
    external_data_helper.convert_model_to_external_data(model, location="w.bin", size_threshold=64)
    (tmp_path / "a").mkdir()
    onnx.save(model, tmp_path / "a" / "m.onnx")
    (tmp_path / "a" / "w.bin").rename(tmp_path / "w.bin")
    loaded = onnx.load(tmp_path / "a" / "m.onnx", load_external_data=False)
    for tensor in loaded.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../w.bin" if entry.key == "location" else entry.value
    (tmp_path / "a" / "m.onnx").write_bytes(loaded.SerializeToString())
    assert failure(tmp_path / "a" / "m.onnx").name == "ExternalDataUnreadable"


def test_nodes_out_of_order() -> None:
    m = small()
    m.nodes.reverse()
    error = failure(m.model())
    assert error.name == "InvalidGraph"
    assert error.message.startswith("not a valid ONNX graph: ")


def with_operator(op: str, *shape: int, opset: int = 13, **attributes: Any) -> onnx.ModelProto:
    m = Qdq(opset=opset)
    m.quantized(m.node(op, m.float_input(*(shape or (1, 4, 6, 6))), **attributes))
    return m.model()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (with_operator("LogSoftmax"), "'LogSoftmax' cannot be accelerated yet"),
        (with_operator("Tanh"), "'Tanh' cannot be accelerated yet"),
        (
            with_operator("MaxPool", 1, 2, 4, 4, 4, 4, kernel_shape=[1, 1, 1, 1]),
            "MaxPool over 4 axes does not run on the NPU",
        ),
    ],
)
def test_unsupported_operator(model: onnx.ModelProto, message: str) -> None:
    (operator,) = left(model)
    assert operator.reason.startswith(message)
    assert operator.nodes[0].startswith(operator.name.lower()) and operator.remedy


@pytest.mark.parametrize(
    ("op", "shape", "attributes", "rule"),
    [
        ("LpNormalization", (1, 4), {"p": 1}, ORDER),
        ("AveragePool", (1, 2, 4, 4, 4), {"kernel_shape": [2, 2, 2], "pads": [0, 1, 0, 0, 0, 0]}, COUNTED),
        ("MaxPool", (1, 2, 4, 4, 4, 4), {"kernel_shape": [2] * 4}, SPATIAL),
        ("ReduceMax", (2, 3, 4, 5), {"axes": [0]}, MAXIMA),
        ("ReduceMax", (2, 3, 4, 5), {"axes": [1, -1]}, MAXIMA),
        ("ReduceMax", (2, 1025), {"axes": [1]}, MAXIMA),
        ("GlobalMaxPool", (1, 2, 1025), {}, MAXIMA),
        ("Pad", (1, 2, 4, 4), {"mode": "reflect", "pads": [0, 0, 4, 0, 0, 0, 0, 0]}, MIRRORED),
    ],
)
def test_what_the_frontend_decides_is_said_as_the_table_of_operators_says_it(
    op: str, shape: tuple[int, ...], attributes: dict[str, Any], rule: Rule
) -> None:
    """The passes see no attribute of these any more; `verdict` judges them for who has not read the model."""
    [operator] = left(with_operator(op, *shape, opset=10, **attributes))
    assert operator.remedy == rule.remedy and named("UnsupportedOperator", operator.reason) == f"{op}: {rule.condition}"
    said = [finding.problem for finding in verdict(op, attributes, [shape])]
    assert said == ([operator.reason] if rule is not MIRRORED else [])  # from opset 11 on its amounts are an operand


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_kernel_shape_that_the_weights_do_not_have(axes: int) -> None:
    m = Qdq()
    x, w = m.float_input(1, 3, *(8,) * axes), m.weights(4, 3, *(3,) * axes)
    m.quantized(m.node("Conv", x, w, kernel_shape=[5] * axes))
    error = failure(m.model())
    assert error.message == f"Conv: kernel_shape is {[5] * axes}, the weights have {[3] * axes}"


def test_resize_that_is_no_repetition() -> None:
    m = Qdq()
    m.quantized(m.node("Resize", m.float_input(1, 2, 4, 4), "", m.const([1, 1, 2, 2], np.float32), mode="linear"))
    (operator,) = left(m.model())
    assert operator.reason == "Resize is not accelerated: mode linear, half_pixel, [1, 2, 4, 4] to [1, 2, 8, 8]"
    m = Qdq()
    m.quantized(m.node("Resize", m.float_input(1, 2, 4, 4), "", m.const([1, 1, 1.5, 2], np.float32), mode="nearest"))
    (operator,) = left(m.model())
    assert operator.reason.startswith("Resize is not accelerated: mode nearest")


@pytest.mark.parametrize("opset", [10, 13, 18])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_whose_extents_onnx_and_its_runtime_see_differently(opset: int, mode: str) -> None:
    """A third of the scales that reach a whole number. It compiled, to extents that no run found."""
    m = Qdq(opset=opset)
    scales = m.const([5 / 3, 1] if opset == 18 else [1, 1, 5 / 3, 1], np.float32)
    more: dict[str, Any] = {"axes": [2, 3]} if opset == 18 else {}
    m.quantized(m.node("Resize", m.float_input(1, 2, 3, 4), *([] if opset == 10 else [""]), scales, mode=mode, **more))
    error = failure(m.model())
    assert error.name == "UnsupportedOperator"
    assert error.message == "Resize of 3 elements by 1.6666666 makes 4 to ONNX, 5 to ONNX Runtime"
    assert error.hint is not None and error.hint.startswith("export it with sizes, [5] on this axis")


def test_operator_form_of_quantization() -> None:
    node = helper.make_node("QLinearConv", list("abcdefgh"), ["y"], name="conv")
    names = [helper.make_tensor_value_info(n, TensorProto.UINT8, [1, 1, 1, 1]) for n in "abcdefgh"]
    y = helper.make_tensor_value_info("y", TensorProto.UINT8, None)
    graph = helper.make_graph([node], "g", names, [y])
    (operator,) = left(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    assert operator.reason == "'QLinearConv' is of the operator form of quantization, which furc does not read"


def test_weights_of_several_zero_points() -> None:
    m = Qdq()
    stored = m.const(m.rng.integers(0, 256, (4, 3, 3, 3)), np.uint8)
    scales, zeros = m.const([0.01] * 4, np.float32), m.const([97, 98, 97, 97], np.uint8)
    w = m.node("DequantizeLinear", stored, scales, zeros, axis=0)
    m.quantized(m.node("Conv", m.float_input(1, 3, 8, 8), w))
    (operator,) = left(m.model())
    assert operator.remedy.startswith("quantize again with symmetric int8 weights")
    assert operator.reason.startswith("the weights 'dequantizelinear_4' have several zero points, the NPU takes one")


def _float_weights(m: Qdq) -> str:
    return m.node("Conv", m.float_input(1, 3, 8, 8), m.const(np.ones((4, 3, 3, 3)), np.float32))


def _float_between(m: Qdq) -> str:
    return m.node("Sigmoid", m.node("Conv", m.float_input(1, 3, 8, 8), m.weights(4, 3, 3, 3)))


def _float_constant(m: Qdq) -> str:
    return m.node("Mul", m.float_input(1, 3, 8, 8), m.const(np.arange(8), np.float32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_float_weights, "the weights 'c_8' are float32, not quantized"),
        (_float_between, "Sigmoid needs int8, but the float result of Conv 'conv_"),
        (_float_constant, "the constant 'c_8' of Mul is float32, not quantized"),
    ],
)
def test_float_tensor_in_the_middle(make: Callable[[Qdq], str], message: str) -> None:
    m = Qdq()
    m.quantized(make(m))
    assert any(operator.reason.startswith(message) for operator in left(m.model()))


def test_a_result_read_both_as_float_and_as_int8() -> None:
    """The quantization of one reader must not silently become that of the other."""
    m = Qdq()
    x = m.node("Conv", m.float_input(1, 3, 8, 8), m.weights(4, 3, 3, 3))
    m.quantized(m.node("Mul", m.quantized(m.node("Sigmoid", x)), m.quantized(x)))
    assert [operator.name for operator in left(m.model())] == ["Conv", "Sigmoid"]


def test_float_output() -> None:
    m = Qdq()
    m.output(m.node("Conv", m.float_input(1, 3, 8, 8), m.weights(4, 3, 3, 3)))
    (operator,) = left(m.model())
    assert operator.reason.endswith("is the float result of Conv, never quantized")


def test_input_of_another_type() -> None:
    m = small()
    model = m.model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert failure(model).message == "its elements are DOUBLE, furc reads FLOAT, UINT8, INT8, INT32, INT64 and BOOL"


def test_a_huge_constant_is_not_made() -> None:
    m = Qdq()
    big = m.node("ConstantOfShape", m.integers(1 << 20, 1 << 20, 1 << 10))
    m.quantized(m.node("Add", m.float_input(1, 3), big))
    error = failure(m.model())
    assert error.name == "TensorTooLarge"


BYTES = small().model().SerializeToString()


def survives(data: bytes) -> None:
    try:
        load_onnx(data, source="fuzzed.onnx")
    except FurcError as error:
        assert isinstance(error, SourceError | LowerError), error


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(BYTES) - 1))
def test_truncated_models_are_refused(length: int) -> None:
    survives(BYTES[:length])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(BYTES) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_refused_or_read(flips: list[tuple[int, int]]) -> None:
    data = bytearray(BYTES)
    for at, mask in flips:
        data[at] ^= mask
    survives(bytes(data))


def test_a_number_on_its_way_to_the_host_has_no_batch() -> None:
    """The mean of an image, which the NPU makes and a Sin of the host reads: an IndexError."""
    m = Qdq("int8")
    x = m.quantized(m.node("Conv", m.float_input(1, 8, 64, 64), m.weights(8, 8, 3, 3)))
    mean = m.quantized(m.node("ReduceMean", x, keepdims=0))
    m.output(m.node("Sin", mean))
    m.output(m.quantized(m.node("Conv", x, m.weights(8, 8, 3, 3))))
    with pytest.raises(FurcError) as caught:
        furc.compile(m.model(), batch_size=2)
    assert caught.value.name == "BatchNotPossible"
