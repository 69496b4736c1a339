"""Models whose inputs are not four axes, or that join constants, compiled for a batch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from furc.compiler import compile
from furc.onnx.oracle import Oracle
from furc.quantizer import QuantizeOptions, quantize_model
from furc.runtime.session import Session


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], output: list[int], **constants: np.ndarray
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


RNG = np.random.default_rng(0)
CASES = {
    "gemm": model([helper.make_node("Gemm", ["x", "w"], ["y"])], {"x": [1, 50]}, [1, 30], w=RNG.normal(size=(50, 30))),
    "relu of five axes": model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 2, 3, 4, 5]}, [1, 2, 3, 4, 5]),
    "constant in a concatenation": model(
        [helper.make_node("Concat", ["x", "c"], ["y"], axis=1)], {"x": [1, 6, 9, 11]}, [1, 9, 9, 11],
        c=RNG.normal(size=(1, 3, 9, 11)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_batch_equals_its_images(name: str, batch: int) -> None:
    shape = [d.dim_value for d in CASES[name].graph.input[0].type.tensor_type.shape.dim]
    images = [np.random.default_rng(i).normal(size=shape).astype(np.float32) for i in range(batch)]
    quantized = quantize_model(CASES[name], [{"x": image} for image in images], QuantizeOptions(method="MIN_MAX_ASYM"))
    [made] = Session(compile(quantized, batch_size=batch)).run({"x": np.concatenate(images)}).values()
    expected = np.concatenate([Oracle(quantized).run({"x": image})["y"] for image in images])
    assert np.array_equal(made, expected)


def test_operands_of_fewer_axes_are_aligned() -> None:
    two = model([helper.make_node("Add", ["x", "z"], ["y"])], {"x": [1, 6, 9, 11], "z": [6, 1, 1]}, [1, 6, 9, 11])
    feed = {n: RNG.normal(size=s).astype(np.float32) for n, s in (("x", (1, 6, 9, 11)), ("z", (6, 1, 1)))}
    quantized = quantize_model(two, [feed], QuantizeOptions(method="MIN_MAX_ASYM"))
    assert np.array_equal(Session(compile(quantized)).run(feed)["y"], Oracle(quantized).run(feed)["y"])


def test_what_no_instruction_holds_is_left_to_the_host_and_named() -> None:
    wide = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], strides=[33, 33], name="far")],
        {"x": [1, 1, 99, 99]}, [1, 2, 3, 3], w=RNG.normal(size=(2, 1, 3, 3)),
    )  # fmt: skip
    feed = {"x": RNG.normal(size=(1, 1, 99, 99)).astype(np.float32)}
    quantized = quantize_model(wide, [feed], QuantizeOptions(method="MIN_MAX_ASYM"))
    enf = compile(quantized)
    (far,) = [o for step in enf.host_steps for o in step.operators if o.reason]
    assert far.nodes == ("far",) and "stride 33, the machine takes at most 32" in far.reason
    assert np.allclose(Session(enf).run(feed)["y"], Oracle(quantized).run(feed)["y"])
