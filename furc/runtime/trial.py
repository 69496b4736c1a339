"""Whether the host's part of a binary runs: asked when it is compiled, not at the first run on a customer's computer.

Loading a step on ONNX Runtime tells most of what is wrong with its model; the rest only a run tells. Operators that
read nothing but numbers of known sizes run once on zeros: no value decides whether they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

from furc.runtime.host_model import check_host_models
from furc.runtime.host_step import HostRunner
from isa import ort
from isa.enf import Enf, HostStep
from isa.errors import EnfError, Loc, LowerError
from passes.analysis.host_share import calls
from passes.ir.graph import Graph

MOST_MACS = 1 << 31  # of a step that is run to see whether it does: a second on one core
MOST_NODES = 3  # that a message names
_NUMBERS = (TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8)  # no operator takes them for places or sizes
_UNREADABLE = (  # by NumPy, from ONNX Runtime
    TensorProto.INT4, TensorProto.UINT4, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ,
)  # fmt: skip
_HINT = "repair or remove the node; onnx.checker.check_model(path, full_check=True) may say more"


def check_hosts_run(enf: Enf, graph: Graph) -> None:
    """graph: that the binary was made from. Raises LowerError UnsupportedOperator with the node."""
    if next(calls(graph), None) is None:
        return  # conversions alone: furc's own
    try:
        check_host_models(enf)
    except EnfError as error:
        raise LowerError("UnsupportedOperator", error.message, at=Loc(graph.source), hint=_HINT) from error
    for step in enf.host_steps:
        try:
            _try(step)
        except EnfError as error:
            at = Loc(graph.source, tuple(_culprits(step, error.message)))
            raise LowerError("UnsupportedOperator", error.message, at=at, hint=_HINT) from error


def _try(step: HostStep) -> None:
    HostRunner(step)
    if sum(operator.macs for operator in step.operators) <= MOST_MACS:
        model = onnx.ModelProto.FromString(step.model)
        tried = _decided_by_sizes(model)
        if tried.graph.node:
            part = replace(step, model=tried.SerializeToString(), inputs=(), outputs=())
            runner = HostRunner(part, ort.Optimize.NONE)  # messages then name the nodes of the model
            runner.run_one({info.name: _zeros(info) for info in tried.graph.input})


def _culprits(step: HostStep, message: str) -> Iterator[str]:
    """The node that ONNX Runtime names, else the first ones of the step."""
    nodes = [node for operator in step.operators for node in operator.nodes]
    named = [node for node in nodes if f"'{node}'" in message or f"({node})" in message]
    yield from named[:1] or nodes[:MOST_NODES]


def _zeros(info: onnx.ValueInfoProto) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    tensor = info.type.tensor_type
    return np.zeros([d.dim_value for d in tensor.shape.dim], helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _decided_by_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The operators that read constants and numbers of known sizes only, and have no body; what others make for them
    is an input."""
    graph, part = model.graph, onnx.ModelProto()
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    known = {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}
    nodes = [
        node
        for node in graph.node
        if not any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)
        and all(not name or name in constants or _is_number_of_known_size(name, known) for name in node.input)
        and not any(name in known and known[name].type.tensor_type.elem_type in _UNREADABLE for name in node.output)
    ]
    made = {name for node in nodes for name in node.output}
    read = dict.fromkeys(name for node in nodes for name in node.input if name)
    part.CopyFrom(model)
    part.graph.CopyFrom(
        helper.make_graph(
            nodes, graph.name,
            [known[name] for name in read if name not in made and name not in constants],
            [known.get(name, onnx.ValueInfoProto(name=name)) for name in made if name and name not in read],
            graph.initializer,
        )
    )  # fmt: skip
    return part


def _is_number_of_known_size(name: str, known: Mapping[str, onnx.ValueInfoProto]) -> bool:
    if name not in known:
        return False
    tensor = known[name].type.tensor_type
    sized = tensor.HasField("shape") and all(d.dim_value > 0 for d in tensor.shape.dim)
    return tensor.elem_type in _NUMBERS and sized
