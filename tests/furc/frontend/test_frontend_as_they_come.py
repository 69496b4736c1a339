"""Models as other programs wrote them: the operator form of quantization, old files, open batches, values left out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from qdq_models import Qdq

import furc
from furc.onnx.oracle import Oracle
from furc.onnx.run import RunModel
from furc.runtime.session import Session

RNG = np.random.default_rng(0)


def float_network() -> onnx.ModelProto:
    """Convolutions, a residual, a pool, a concatenation, a product."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="c1", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="c2", pads=[1] * 4),
        helper.make_node("Add", ["c2", "r1"], ["a"], name="a"),
        helper.make_node("Sigmoid", ["a"], ["s"], name="s"),
        helper.make_node("Concat", ["a", "s"], ["j"], name="j", axis=1),
        helper.make_node("GlobalAveragePool", ["j"], ["g"], name="g"),
        helper.make_node("Flatten", ["g"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="y", transB=1),
    ]
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 4, 3, 3), "w3": (5, 8), "b3": (5,)}
    constants = [numpy_helper.from_array(RNG.normal(0, 0.3, s).astype(np.float32), n) for n, s in shapes.items()]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


class _Noise(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.rest = iter([{"x": RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8])
def test_the_operator_form_of_quantization(tmp_path: Path, kind: QuantType, per_channel: bool) -> None:
    """QLinearConv, QLinearAdd, QGemm and the like, as ONNX Runtime's quantizer writes them."""
    quantize_static(
        float_network(), tmp_path / "q.onnx", _Noise(), quant_format=QuantFormat.QOperator, activation_type=kind,
        weight_type=QuantType.QInt8, per_channel=per_channel,
    )  # fmt: skip
    model = onnx.load(tmp_path / "q.onnx")
    assert {"QLinearConv", "QLinearAdd", "QGemm"} <= {node.op_type for node in model.graph.node}
    enf = furc.compile(tmp_path / "q.onnx")
    assert not [o for step in enf.host_steps for o in step.operators if o.reason]
    x = {"x": RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)}
    got, wanted = Session(enf).run(x)["y"], RunModel(model, plain=True)(x)["y"]
    step = max(abs(wanted).max() / 50, 1e-3)  # a few LSB: means and sigmoids of uint8 kernels round on their own
    assert np.abs(got - wanted).max() <= step


@pytest.mark.filterwarnings("ignore")
def test_the_host_takes_a_tensor_as_integers_and_as_numbers(tmp_path: Path) -> None:
    """A PReLU spelled out, as tf2onnx has it: QLinearAdd reads what Neg reads behind a DequantizeLinear."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 13]>
        net (float[1, 3, 8, 8] x) => (float[1, 32, 4, 4] y) {
            inner = Conv(x, w)
            c = Conv(inner, v)
            n = Neg(c)
            below = Relu(n)
            scaled = Mul(below, slope)
            y = Add(c, scaled)
        }""")
    for name, shape in (("w", (64, 3, 3, 3)), ("v", (32, 64, 3, 3)), ("slope", (32, 1, 1))):
        model.graph.initializer.append(numpy_helper.from_array(RNG.normal(0, 0.3, shape).astype(np.float32), name))
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}{index}"
    quantize_static(model, tmp_path / "q.onnx", _Noise(), quant_format=QuantFormat.QOperator,
                    activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)  # fmt: skip
    quantized = onnx.load(tmp_path / "q.onnx")
    assert {"QLinearAdd", "Neg"} <= {node.op_type for node in quantized.graph.node}
    x = {"x": RNG.normal(size=(1, 3, 8, 8)).astype(np.float32)}
    enf = furc.compile(quantized)
    assert [o for o in enf.operators if o.name == "LowLevelConv2d"]
    got, wanted = Session(enf).run(x)["y"], RunModel(quantized, plain=True)(x)["y"]
    assert np.array_equal(got, wanted)


def island() -> Qdq:
    m = Qdq()
    x = m.node("MaxPool", m.float_input(1, 4, 8, 8), kernel_shape=[2, 2], ceil_mode=0)
    m.output(m.quantized(m.node("Conv", x, m.weights(4, 4, 3, 3))))
    return m


def equal(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> None:
    got, wanted = Session(furc.compile(model)).run(feeds), Oracle(model).run(feeds)
    name = next(o.name for o in model.graph.output if o.type.tensor_type.elem_type == TensorProto.FLOAT)
    assert np.array_equal(got[name], wanted[name])


def test_an_old_file_lists_its_constants_as_inputs() -> None:
    m = island()
    model = m.model()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    equal(model, m.feeds())


def test_an_attribute_without_value_is_zero() -> None:
    m = island()
    model = m.model()
    (ceil,) = [a for node in model.graph.node for a in node.attribute if a.name == "ceil_mode"]
    ceil.ClearField("i")
    data = io.BytesIO(model.SerializeToString()).getvalue()
    equal(onnx.load_from_string(data), m.feeds())


def test_an_open_batch_is_that_of_the_compilation() -> None:
    m = island()
    (name,) = m.inputs
    feeds = m.feeds()
    m.inputs[name] = ("float32", ("batch", 4, 8, 8))
    enf = furc.compile(m.model(), batch_size=2)
    assert enf.inputs[0].shape == (2, 4, 8, 8)
    got = Session(enf).run({name: np.repeat(feeds[name], 2, axis=0)})
    wanted = Session(furc.compile(m.model())).run(feeds)
    assert all(np.array_equal(got[n], np.repeat(wanted[n], 2, axis=0)) for n in wanted)
