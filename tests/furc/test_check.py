"""What furc check says of a model, float or quantized."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

sys.path.append(str(Path(__file__).parent / "frontend"))
from qdq_models import Qdq

import furc
from furc.check import CheckReport, Where, check_file
from furc.cli.main import cli
from furc.quantizer import optimize_model
from furc.request import Request
from isa.errors import ConfigError, QuantizeError

RNG = np.random.default_rng(0)


def network(*middle: onnx.NodeProto, last: str, opset: int = 13, channels: int = 64) -> onnx.ModelProto:
    """A float network: convolutions, BatchNormalization and Relu, then what is asked for."""
    shapes = {"w": (channels, 3, 3, 3), "v": (channels, channels, 3, 3), "s": (channels,)}
    constants = [numpy_helper.from_array(RNG.uniform(0.1, 1, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="c", pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c", "s", "s", "s", "s"], ["b"], name="b"),
        helper.make_node("Relu", ["b"], ["r"], name="r"),
        helper.make_node("Conv", ["r", "v"], ["d"], name="d", pads=[1] * 4),
        *middle,
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 64, 64])
    graph = helper.make_graph(
        nodes, "net", [x], [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)], constants
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def places(report: CheckReport) -> dict[str, str]:
    return {j.node: str(j.where) for j in report.judgements}


@pytest.mark.parametrize("opset", [9, 13, 17, 23])
def test_a_float_model_is_judged_as_it_will_be_quantized(opset: int) -> None:
    report = check_file(network(helper.make_node("Tanh", ["d"], ["y"]), last="y", opset=opset))
    assert places(report) == {"c": "NPU", "b": "rewritten", "r": "NPU", "d": "NPU", "Tanh that makes y": "host"}
    tanh = report.judgements[-1]
    assert tanh.operator == "Tanh" and tanh.reason and tanh.remedy and tanh.ms > 0 and not tanh.possible


def test_a_batch_that_no_instruction_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="an instruction holds 1 to 32 images"):
        check_file(network(last="d"), Request(batch=40))


def test_the_limit_is_named() -> None:
    far = helper.make_node("Conv", ["d", "v"], ["y"], name="far", dilations=[13, 13], pads=[13] * 4)
    report = check_file(network(far, last="y"))
    assert "dilation 13, Warboy takes at most 12" in report.judgements[-1].reason


def test_what_nobody_runs_is_refused() -> None:
    unheard = helper.make_node("Unheard", ["d"], ["y"], name="unheard", domain="com.example")
    report = check_file(network(unheard, last="y"))
    assert report.judgements[-1].where is Where.REFUSED and not report.compiles


def test_what_follows_an_operator_of_the_host_is_placed() -> None:
    middle = [
        helper.make_node("Tanh", ["d"], ["t"], name="t"),
        helper.make_node("Relu", ["t"], ["y"], name="y"),
    ]
    assert places(check_file(network(*middle, last="y")))["y"] == "host"
    asked = Request(settings={"max_npu_segments": "all"})
    assert places(check_file(network(*middle, last="y"), asked))["y"] == "NPU"


def test_a_quantized_model_is_judged_as_it_compiles() -> None:
    m = Qdq("int8")
    x = m.quantized(m.node("Conv", m.float_input(1, 4, 8, 8), m.weights(4, 4, 3, 3)))
    m.output(m.node("Softmax", m.node("Conv", x, m.weights(2, 4, 3, 3)), axis=1))
    model = m.model()
    report = check_file(model)
    compiled = {node for step in furc.compile(model).host_steps for o in step.operators if o.reason for node in o.nodes}
    assert {j.node for j in report.of(Where.HOST)} == compiled


def test_weights_are_not_touched() -> None:
    """A hundred million of them: a second is long."""
    model = network(last="d")
    (large,) = [t for t in model.graph.initializer if t.name == "v"]
    many = TensorProto(name="v", data_type=TensorProto.FLOAT, dims=[64, 64, 160, 160])
    many.raw_data = b"\0" * (4 * 64 * 64 * 160 * 160)
    large.CopyFrom(many)
    model.graph.node[3].attribute[0].CopyFrom(helper.make_attribute("pads", [80] * 4))
    data = model.SerializeToString()
    begin = time.process_time()
    check_file(data)
    assert time.process_time() - begin < 2  # half a second, whatever else the machine does


def test_a_float_model_is_judged_as_the_quantizer_makes_it_over() -> None:
    """A BatchNormalization behind a Relu becomes a depthwise Conv, a division by numbers a multiplication."""
    middle = [
        helper.make_node("Relu", ["d"], ["e"], name="e"),
        helper.make_node("BatchNormalization", ["e", "s", "s", "s", "s"], ["p"], name="p"),
        helper.make_node("Dropout", ["p"], ["o"], name="o"),
        helper.make_node("Conv", ["o", "v"], ["q"], name="q", pads=[1] * 4),
        helper.make_node("MaxPool", ["q"], ["m"], name="m", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Div", ["m", "by"], ["y"], name="y"),
    ]
    model = network(*middle, last="y")
    model.graph.initializer.append(numpy_helper.from_array(RNG.uniform(1, 2, (64, 1, 1)).astype(np.float32), "by"))
    report = check_file(model)
    assert [*places(report)] == ["c", "b", "r", "d", "e", "p", "o", "q", "m", "y"]
    assert {name for name, where in places(report).items() if where != "NPU"} == {"b", "o"}
    assert {j.node: j.operator for j in report.judgements if j.node in "py"} == {"p": "Conv", "y": "Mul"}


def test_an_operator_without_an_older_form_is_refused_as_the_quantizer_does() -> None:
    """Opset 23 is read, but a float model of it is quantized in an older one."""
    rows = helper.make_node("Reshape", ["d", "rows"], ["t"])
    attention = helper.make_node("Attention", ["t", "t", "t"], ["y"], q_num_heads=2, kv_num_heads=2)
    model = network(rows, attention, last="y", opset=23)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4096, 64]), "rows"))
    for judge in (check_file, optimize_model):
        with pytest.raises(QuantizeError) as caught:
            judge(model)
        assert caught.value.name == "OpsetConversion"


def test_a_softmax_of_an_old_opset_is_judged_by_what_it_becomes() -> None:
    """Of opset 12 and before it flattens; over the last axis it is the one of opset 13, whose batch is 1."""
    transposed = helper.make_node("Transpose", ["d"], ["t"], name="t", perm=[0, 2, 3, 1])
    softmax = helper.make_node("Softmax", ["t"], ["y"], name="y", axis=3)
    assert places(check_file(network(transposed, softmax, last="y", opset=11)))["y"] == "NPU"


@pytest.mark.parametrize("columns", [64, 1])
def test_a_constant_of_many_numbers_is_no_number(columns: int) -> None:
    """Of a number Sub is a table, of a tensor it is for the wider set."""
    model = network(helper.make_node("Sub", ["c0", "d"], ["y"], name="y"), last="y")
    numbers = RNG.uniform(1, 2, (1, 64, 64, columns)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(numbers, "c0"))
    assert places(check_file(model))["y"] == "host"
    assert places(check_file(model, Request(settings={"operator_set": "sdk0.10"})))["y"] == "NPU"


def test_many_indices_are_read() -> None:
    flat = helper.make_node("Flatten", ["d"], ["f"], name="f")
    gathered = helper.make_node("Gather", ["f", "i"], ["y"], name="y", axis=1)
    model = network(flat, gathered, last="y")
    model.graph.initializer.append(numpy_helper.from_array(np.arange(0, 10000, 2), "i"))
    assert places(check_file(model))["y"] == "NPU"


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(network(helper.make_node("Tanh", ["d"], ["y"]), last="y"), path)
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert result.exit_code == 0 and "5 operators: 3 on the NPU, 1 rewritten, 1 on the host" in result.stdout
    listed = json.loads(CliRunner().invoke(cli, ["check", str(path), "--format", "json"]).stdout)
    assert [each["where"] for each in listed] == ["NPU", "rewritten", "NPU", "NPU", "host"]
    onnx.save(network(helper.make_node("Unheard", ["d"], ["y"], domain="com.example"), last="y"), path)
    assert CliRunner().invoke(cli, ["check", str(path)]).exit_code == 1
