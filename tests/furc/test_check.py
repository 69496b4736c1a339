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
from furc.request import Request

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


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(network(helper.make_node("Tanh", ["d"], ["y"]), last="y"), path)
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert result.exit_code == 0 and "5 operators: 3 on the NPU, 1 rewritten, 1 on the host" in result.stdout
    listed = json.loads(CliRunner().invoke(cli, ["check", str(path), "--format", "json"]).stdout)
    assert [each["where"] for each in listed] == ["NPU", "rewritten", "NPU", "NPU", "host"]
    onnx.save(network(helper.make_node("Unheard", ["d"], ["y"], domain="com.example"), last="y"), path)
    assert CliRunner().invoke(cli, ["check", str(path)]).exit_code == 1
