"""The smallest part of a model in which an operator leaves ONNX Runtime's numbers, as a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from furc.frontend.onnx.model import in_qdq_form
from furc.onnx.model_proto import fixed_batch, fixed_inputs
from furc.request import Request
from furc.verify.compare import (
    REQUANTIZED,
    Array,
    Verification,
    grids_of,
    hosted_tensors,
    loaded,
    model_and_data,
    reference_of,
    verify,
)


def minimal(
    path: Path | str,
    request: Request | None = None,
    files: Mapping[str, Path] | None = None,
    seed: int = 0,
    limit: int = 1,
) -> tuple[onnx.ModelProto, Verification] | None:
    """The smallest part of a model in which an operator adds more than `limit` LSB; None where none does.

    By ONNX Runtime's numbers. It starts as that operator between its quantized operands and its result; where it is
    right there, alone, on the reference's own operands, the operators above it are taken in, twice as many each time.
    Raises FurcError.
    """
    asked = request or Request()
    model, inputs = model_and_data(path, asked, files or {}, seed)
    shapes = fixed_batch(model, asked.input_shapes, asked.open_batch)
    model, options = in_qdq_form(model), replace(asked, batch=1).options()
    if shapes:
        model = fixed_inputs(model, shapes)
    found = verify(model, inputs, options)
    bad = found.first_bad(limit)
    if bad is None:
        return None
    reference = reference_of(model, inputs, hosted_tensors(loaded(model, options, None)))
    grids = grids_of(model)
    wanted = (bad.tensor.removesuffix(REQUANTIZED), bad.quant)
    target = next(n for n in reference if n in grids and (grids[n] == wanted or (n, grids[n][1]) == wanted))
    for depth in doubled(len(model.graph.node)):
        part, fed = _part(model, target, depth, reference, inputs)
        own = verify(part, fed, options)
        if own.first_bad(limit) is not None:
            return part, own
    return model, found


def doubled(end: int) -> Iterable[int]:
    """1, 2, 4 and so on, below an end."""
    depth = 1
    while depth < end:
        yield depth
        depth *= 2


def _part(
    model: onnx.ModelProto, target: str, depth: int, reference: Mapping[str, Array], inputs: Mapping[str, Array]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """What makes a quantized tensor from those that are `depth` quantized tensors above it, and what those hold."""
    makers = {name: node for node in model.graph.node for name in node.output}
    fed: dict[str, Array] = {}
    nodes: set[str] = set()
    stack = [(target, depth)]
    deepest: dict[str, int] = {}
    while stack:
        name, left = stack.pop()
        if deepest.get(name, -1) >= left or not name:
            continue
        deepest[name] = left
        if name in reference and left == 0:
            continue
        maker = makers.get(name)
        if maker is not None:
            nodes.update(maker.output)
            stack += [(above, left - (name in reference)) for above in maker.input]
    unsigned = {q.output[0] for q in model.graph.node if q.op_type == "QuantizeLinear" and _is_unsigned(model, q)}
    for name in deepest:
        if name in inputs:
            fed[name] = inputs[name]
        elif name in reference and not nodes.intersection({name}):
            fed[name] = (reference[name].view(np.uint8) ^ 0x80) if name in unsigned else reference[name]
    kinds = {name: onnx.TensorProto.UINT8 if name in unsigned else onnx.TensorProto.INT8 for name in reference}
    made = onnx.helper.make_tensor_value_info(target, kinds[target], reference[target].shape)
    return _extracted(model, nodes, made, fed, kinds), fed


def _is_unsigned(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return True
    zero = next((i for i in model.graph.initializer if i.name == node.input[2]), None)
    return zero is None or int(zero.data_type) == onnx.TensorProto.UINT8


def _extracted(
    model: onnx.ModelProto,
    made: set[str],
    output: onnx.ValueInfoProto,
    fed: Mapping[str, Array],
    kinds: Mapping[str, int],
) -> onnx.ModelProto:
    """A model of the nodes that make these tensors."""
    nodes = [node for node in model.graph.node if made.intersection(node.output)]
    read = {name for node in nodes for name in node.input}
    of_file = {info.name: info for info in model.graph.input}
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "minimal",
        [of_file[n] if n in of_file else info(n, kinds[n], array.shape) for n, array in fed.items() if n in read],
        [output],
        [initializer for initializer in model.graph.initializer if initializer.name in read],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version,
                                  producer_name="furc")  # fmt: skip
