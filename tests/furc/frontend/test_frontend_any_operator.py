"""Promise 1 on ONNX's own operator tests: what ONNX Runtime runs compiles and gives the same, or is refused by name."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import TestCase, collect_testcases

import furc
from furc.check import check_file
from furc.onnx.run import RunModel
from furc.runtime.session import Session
from isa.errors import FurcError, RunError

NEWEST, STEP = 21, np.float32(0.05)
KNOWN = {"test_averagepool_2d_ceil_last_window_starts_on_pad"}  # ONNX and ONNX Runtime differ on its shape


def quantized(case: TestCase) -> onnx.ModelProto | None:
    """The model of a case, its float inputs quantized; None where it has none."""
    model = copy.deepcopy(case.model)
    for opset in model.opset_import:
        opset.version = min(opset.version, NEWEST) if opset.domain in ("", "ai.onnx") else opset.version
    graph, conversions = model.graph, list[onnx.NodeProto]()
    for info in graph.input:
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            name = info.name
            conversions.append(helper.make_node("QuantizeLinear", [name, "step", "zero"], [f"{name}/q"]))
            conversions.append(helper.make_node("DequantizeLinear", [f"{name}/q", "step", "zero"], [f"{name}/dq"]))
            for node in graph.node:
                node.input[:] = [f"{name}/dq" if read == name else read for read in node.input]
    nodes = [*conversions, *copy.deepcopy(list(graph.node))]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([numpy_helper.from_array(STEP, "step"), numpy_helper.from_array(np.int8(0), "zero")])
    return model if conversions else None


def outcome(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> str:
    try:
        wanted = RunModel(model, plain=True)(feeds)
    except Exception:  # whatever ONNX Runtime raises
        return "not run by ONNX Runtime"
    dims = model.graph.input[0].type.tensor_type.shape.dim
    try:
        check_file(copy.deepcopy(model))
        enf = furc.compile(model, batch_size=(dims[0].dim_value or 1) if dims else 1)
        got = Session(enf).run(feeds)
    except RunError:
        raise
    except FurcError as error:
        assert error.hint, error
        return f"refused: {error.name}"
    for name, array in wanted.items():
        theirs = array.astype(np.float64)
        bound = 0.02 + 0.02 * np.abs(np.nan_to_num(theirs)).max(initial=0)
        assert got[name].shape == array.shape and got[name].dtype == array.dtype, name
        assert np.allclose(got[name].astype(np.float64), theirs, atol=bound, equal_nan=True), name
    return "equal"


PARTS = 4  # so that several processes share them


@pytest.mark.slow
@pytest.mark.fills_memory
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_operator_of_onnx_compiles_and_is_equal_or_is_refused(part: int) -> None:
    found: Counter[str] = Counter()
    for case in collect_testcases(None)[part::PARTS]:
        model = None if case.name in KNOWN or case.name.endswith("_expanded") else quantized(case)
        if model is None or not case.data_sets or "bernoulli" in case.name or "random" in case.model.graph.name:
            continue
        arrays = list(case.data_sets[0][0])
        if all(isinstance(array, np.ndarray) for array in arrays):
            found[outcome(model, dict(zip([i.name for i in model.graph.input], arrays, strict=False)))] += 1
    assert found["equal"] > 140, found
    assert sum(count for name, count in found.items() if name.startswith("refused")) < 30, found
