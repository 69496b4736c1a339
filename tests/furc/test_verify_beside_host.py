"""furc.verify: the NPU is held to integer sums, the host to float32 ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from qdq_models import runtime

import furc
from furc.onnx.oracle import Oracle
from furc.runtime.session import Session
from furc.verify import verify
from isa.npu import target
from passes.options import CompileOptions

SCALES = {"sx": 0.11, "sw": 0.01, "sy": 0.0022, "sz": 0.0001}  # half of the first sums are ties, but for rounding
PRODUCTS = {"1": ("sx", "sy"), "2": ("sy", "sz")}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """MatMul, Abs, MatMul: with one part on the NPU, the first product is the host's."""
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {name: np.float32(scale) for name, scale in SCALES.items()}
    constants |= {f"w{n}": rng.integers(-3, 4, (rows, 96)).astype(np.int8) for n, rows in (("1", 48), ("2", 96))}
    constants["zero"] = np.int8(0)
    nodes = []

    def quantized(op: str, name: str, x: str, scales: tuple[str, str], *more: str) -> str:
        nodes.append(helper.make_node("DequantizeLinear", [x, scales[0], "zero"], [f"{name}.x"]))
        nodes.append(helper.make_node(op, [f"{name}.x", *more], [f"{name}.f"], name=f"{op}{name}"))
        nodes.append(helper.make_node("QuantizeLinear", [f"{name}.f", scales[1], "zero"], [f"{name}.y"]))
        return f"{name}.y"

    for n in PRODUCTS:
        nodes.append(helper.make_node("DequantizeLinear", [f"w{n}", "sw", "zero"], [f"{n}.w"]))
    first = quantized("MatMul", "1", "x", PRODUCTS["1"], "1.w")
    last = quantized("MatMul", "2", quantized("Abs", "a", first, ("sy", "sy")), PRODUCTS["2"], "2.w")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 1, 64, 48])],
        [helper.make_tensor_value_info(last, TensorProto.INT8, [1, 1, 64, 96])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def feeds() -> dict[str, Any]:
    return {"x": np.random.default_rng(1).integers(-3, 4, (1, 1, 64, 48)).astype(np.int8)}


@pytest.mark.parametrize(("segments", "products"), [(1, ["2.y"]), ("all", ["1.f", "2.y"])])
def test_products_equal_onnx_runtime_wherever_they_are(
    model: onnx.ModelProto, feeds: dict[str, Any], segments: int | str, products: list[str]
) -> None:
    rows = verify(model, feeds, CompileOptions(npu=target("warboy"), max_npu_segments=segments)).tensors
    assert [row.tensor for row in rows] == products
    assert [row for row in rows if row.arrived.different or row.added.different] == []


def test_a_product_on_the_host_sums_in_float32_as_the_model_has_it(
    model: onnx.ModelProto, feeds: dict[str, Any]
) -> None:
    """docs/numerics.md: with graph optimizations ONNX Runtime sums integers instead, as the NPU does."""
    got, on_host = {}, {}
    for segments in (1, "all"):
        enf = furc.compile(model, target_npu="warboy", compiler_config={"max_npu_segments": segments})
        on_host[segments] = {operator.tensor for step in enf.host_steps for operator in step.operators} & {"1.f", "2.f"}
        [got[segments]] = Session(enf).run(feeds).values()
    assert on_host == {1: {"1.f"}, "all": set()}
    [optimized] = runtime(model, feeds, optimized=True).values()
    assert np.array_equal(got["all"], optimized)
    assert np.array_equal(got[1], Oracle(model, on_host[1]).run(feeds)["2.y"])
    assert np.count_nonzero(got[1] != optimized) > 1000  # behind ties that float32 has on their other side


def test_what_the_host_computes_between_is_not_laid_to_the_operator_behind_it(
    model: onnx.ModelProto, feeds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference whose Abs rounds otherwise: the product behind it adds nothing to the reference's own operands."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    next(node for node in other.graph.node if node.op_type == "Abs").op_type = "Neg"
    monkeypatch.setattr("furc.verify.compare.Oracle", lambda _, hosted: Oracle(other, hosted))
    *_, row = verify(model, feeds, CompileOptions(npu=target("warboy"), max_npu_segments="all")).tensors
    assert row.tensor == "2.y" and row.arrived.different > 1000 and row.above == row.arrived
    assert row.added.different == 0
