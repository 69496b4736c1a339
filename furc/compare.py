"""Compare what the NPU computes with what ONNX Runtime computes, tensor by tensor.

Every int8 tensor that is left after fusion is made an output of the program, so that the NPU itself stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from furc.compiler import compile_graph
from furc.data.inputs import inputs_of, read_inputs
from furc.frontend import load_onnx
from furc.frontend.onnx.model import in_qdq_form
from furc.onnx.files import load
from furc.onnx.graph import fixed_batch
from furc.onnx.oracle import Oracle
from furc.request import Request
from furc.runtime.session import Session
from passes.dfg.fuse_tables import fuse_tables
from passes.ir.graph import Graph
from passes.ir.op import Runs
from passes.ir.types import DType
from passes.options import CompileOptions

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """One tensor on both sides. different: elements that are not equal; worst: largest difference in LSB."""

    tensor: str
    operator: str
    nodes: tuple[str, ...]
    elements: int
    different: int
    worst: int


def compare_file(
    path: Path | str, request: Request | None = None, files: Mapping[str, Path] | None = None, seed: int = 0
) -> list[TensorDifference]:
    """`compare` for a model in a file. files: data by input name, seeded noise for all inputs where there are none.

    Raises FurcError.
    """
    asked = request or Request()
    model = load(path)
    shapes = fixed_batch(model, asked.input_shapes, asked.open_batch)
    graph = asked.load(model, str(path))
    inputs = read_inputs(inputs_of(graph.inputs), files or {}, seed)
    return compare(model, inputs, replace(asked, batch=1).options(), input_shapes=shapes)


def compare(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    options: CompileOptions,
    *,
    accelerate: bool = True,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> list[TensorDifference]:
    """One row for each int8 tensor that the NPU makes and ONNX Runtime knows, in execution order.

    model: quantized (QDQ, or float with calibrated ranges); inputs: one array an input, batch 1.
    """
    model = in_qdq_form(model)
    graph = fuse_tables(_loaded(model, options, input_shapes), options)
    makers = {op.result.name: op for op in graph.ops if op.runs is not Runs.HOST}
    oracle = Oracle(model)
    quantized = {_float_name(model, name): name for name in oracle.tensors}
    shown = [op.result for op in graph.ops if op.result.name in makers and op.result.type.dtype is DType.I8]
    graph.outputs += [value for value in shown if value not in graph.outputs]
    npu = Session(compile_graph(graph, options).enf, npu=options.npu, accelerate=accelerate).run(inputs)
    onnx_values = oracle.run(inputs)
    rows = []
    for value in shown:
        reference = quantized.get(value.name, value.name)
        if reference in onnx_values:
            mine, theirs = npu[value.name].astype(int), onnx_values[reference].astype(int).reshape(value.type.shape)
            distance = np.abs(mine - theirs)
            op = makers[value.name]
            rows.append(
                TensorDifference(
                    value.name, op.mnemonic, op.loc.nodes, distance.size, int(np.count_nonzero(distance)),
                    int(distance.max(initial=0)),
                )
            )  # fmt: skip
    return rows


def _loaded(model: onnx.ModelProto, options: CompileOptions, shapes: Mapping[str, tuple[int, ...]] | None) -> Graph:
    return load_onnx(
        model, input_shapes=shapes, npu=options.npu, max_npu_segments=options.max_npu_segments,
        operator_set=options.operator_set,
    )  # fmt: skip


def _float_name(model: onnx.ModelProto, quantized: str) -> str:
    """The float tensor whose quantized form this is: the input of its QuantizeLinear."""
    for node in model.graph.node:
        if quantized in node.output:
            return str(node.input[0])
    return quantized
