"""Whole models as onnxruntime.quantization writes them: int8 tensors equal ONNX Runtime's, the text parses back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import QuantType
from qdq_models import calibrated, mnemonics, runtime

from furc import zoo
from furc.frontend import load_onnx
from isa.npu import target
from passes.ir.graph import Graph
from passes.ir.op import Array, Value
from passes.ir.text import parse, show

# ONNX Runtime's QLinearAdd and QLinearMul multiply by ratios of scales where the QDQ form divides, and its pools sum
# floats: a result that is nearly a tie may round the other way.
MAY_TIE = {"add": 1e-3, "mul": 1e-3, "avgpool": 1e-2}  # of the elements


def feeds_of(model: onnx.ModelProto, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return {model.graph.input[0].name: rng.standard_normal(shape, np.float32)}


def exposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the result of every QuantizeLinear as an output."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            result.graph.output.append(helper.make_tensor_value_info(node.output[0], kinds[node.input[2]], None))
    return result


def compare(model: onnx.ModelProto, graph: Graph, feeds: dict[str, Array]) -> int:
    """Each op from ONNX Runtime's own int8 operands, against ONNX Runtime's result; the number compared."""
    expected = runtime(exposed(model), feeds, optimized=True)
    theirs: dict[str, Array] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            array = expected[node.output[0]]
            int8 = (array ^ np.uint8(0x80)).view(np.int8) if array.dtype == np.uint8 else array
            for suffix in ("", ".int8", ".requantized"):
                theirs[node.input[0] + suffix] = int8
    held: dict[Value, Array] = {v: feeds[v.name] for v in graph.inputs} | graph.constants
    compared, made = 0, graph.names()
    for op in graph.ops:
        name, ours = op.result.name, op.compute(held.__getitem__, target("warboy"))[0]
        again = f"{name}.requantized" in made  # the tensor is another value, this one leads to it
        if name in theirs and op.mnemonic != "dequantize" and not again:
            off = np.abs(ours.astype(np.int16) - theirs[name])
            assert off.max() <= (op.mnemonic in MAY_TIE), f"{op.mnemonic} {name}: {(off > 0).mean():.3%} differ"
            assert (off > 0).sum() <= 1 + off.size * MAY_TIE.get(op.mnemonic, 0), f"{name}: {(off > 0).mean():.3%}"
            ours, compared = theirs[name], compared + 1
        held[op.result] = ours
    return compared


@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", ["mobilenet_v2", "yolov5n", "yolov8n"])
def test_quantized_by_onnxruntime(name: str, activations: Any, symmetric: bool, tmp_path: Path) -> None:
    model = zoo.build(name, input_size=32)
    quantized = calibrated(
        model, [feeds_of(model, seed) for seed in (1, 2)], tmp_path,
        activation_type=activations, weight_type=QuantType.QInt8, per_channel=symmetric,
        extra_options={"ActivationSymmetric": symmetric},
    )  # fmt: skip
    graph = load_onnx(quantized, source=f"{name}.onnx")
    assert compare(quantized, graph, feeds_of(model, 3)) > 50
    assert graph.batch == 1
    named = {op.loc.nodes for op in graph.ops if op.mnemonic == "conv2d"}
    assert all(nodes[0].endswith("/Conv") for nodes in named)
    assert_round_trip(graph)


def test_relu_is_a_bound_where_the_zero_point_allows(tmp_path: Path) -> None:
    model = zoo.build("mobilenet_v2", input_size=32)
    options = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    graph = load_onnx(calibrated(model, [feeds_of(model, 1)], tmp_path, **options))
    assert set(mnemonics(graph)) == {"quantize", "conv2d", "add", "avgpool", "reshape", "gemm", "dequantize"}


def assert_round_trip(graph: Graph) -> None:
    constants = {value.name: array for value, array in graph.constants.items()}
    again = parse(show(graph), constants, graph.source)
    assert show(again) == show(graph)
    assert {v.name: a.tobytes() for v, a in again.constants.items()} == {n: a.tobytes() for n, a in constants.items()}


def test_importing_twice_gives_the_same_text_and_constants(tmp_path: Path) -> None:
    model = zoo.build("yolov8n", input_size=32)
    quantized = calibrated(model, [feeds_of(model, 1)], tmp_path, weight_type=QuantType.QInt8)
    one, two = (load_onnx(m, source="m") for m in (quantized, quantized.SerializeToString()))
    assert show(one) == show(two)
    assert [a.tobytes() for a in one.constants.values()] == [a.tobytes() for a in two.constants.values()]
