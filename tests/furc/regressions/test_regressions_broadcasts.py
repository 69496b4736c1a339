"""Operands of five and six axes that broadcast along some of the axes that the machine folds into one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from furc.compiler import compile
from furc.onnx.oracle import Oracle
from furc.quantizer import QuantizeOptions, quantize_model
from furc.runtime.session import Session

PAIRS = [
    ((1, 2, 1, 1, 1, 1), (1, 2, 6, 1, 1, 1)),
    ((1, 2, 4, 1, 4), (1, 4, 1, 1)),
    ((1, 3, 1, 5, 2), (1, 1, 4, 1, 1)),
    ((1, 1, 4, 3, 2, 2), (1, 3, 1, 3, 1, 2)),
    ((1, 2, 3, 4, 5), (3, 1, 1)),
    ((1, 1, 1, 1, 1, 7), (1, 2, 3, 2, 3, 1)),
]


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
@pytest.mark.parametrize("shapes", PAIRS, ids=str)
def test_what_crosses_folded_axes_is_what_onnxruntime_has(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], op: str, constant: bool
) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in zip("ab", shapes, strict=True)}
    fed = {name: array for name, array in arrays.items() if not (constant and name == "a")}
    graph = helper.make_graph(
        [helper.make_node(op, ["a", "b"], ["y"])], "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in fed.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, np.broadcast_shapes(*shapes))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name not in fed],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    quantized = quantize_model(model, [fed], QuantizeOptions(method="MIN_MAX_ASYM"))
    enf = compile(quantized, batch_size=next(iter(fed.values())).shape[0])
    expected = Oracle(quantized).run(fed)["y"]
    step = float(np.ptp(expected)) / 255
    for accelerate in (True, False):
        made = Session(enf, accelerate=accelerate).run(fed)["y"]
        assert np.abs(made - expected).max() <= (1.01 * step if op == "Mul" else 0)  # docs/numerics.md
