"""The order of the float passes, and why each stands where it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx

from furc.quantizer.graph import Graph, fixed_inputs, infer_shapes
from furc.quantizer.optimize.conv1d import widen_conv1d
from furc.quantizer.optimize.fold_affine import fold_affine
from furc.quantizer.optimize.fold_constants import fold_constants
from furc.quantizer.optimize.fold_pad import fold_pad
from furc.quantizer.optimize.opset import convert_opset
from furc.quantizer.optimize.plain_ops import plain_ops
from furc.quantizer.optimize.remove_identity import remove_identity
from isa.errors import QuantizeError

PASSES: tuple[
    Callable[[Graph], None], ...
] = (  # after folding constants: they ask whether weights and pads are constant
    remove_identity,  # before fold_affine, so that a Dropout does not stand between a Conv and its BatchNorm
    plain_ops,  # before fold_affine: a Gemm's alpha and beta would be in the way
    fold_pad,  # before fold_affine: needs no order, but fewer nodes are cheaper
    fold_affine,
    widen_conv1d,  # last: what follows a 1-D Conv folds into it while it still is directly behind
)


def optimize_model(
    model: onnx.ModelProto | bytes, input_shapes: Mapping[str, Sequence[int]] | None = None, opset_version: int = 13
) -> onnx.ModelProto:
    """The float model in the form that is calibrated and quantized: same inputs, outputs and results, fewer nodes.

    input_shapes: extents of graph inputs whose shape the model leaves open. Tensors that survive keep their names.
    Raises QuantizeError[UnknownInput, OpsetConversion, BadModel].
    """
    return optimize_graph(model, input_shapes, opset_version).model()


def optimize_graph(
    model: onnx.ModelProto | bytes, input_shapes: Mapping[str, Sequence[int]] | None = None, opset_version: int = 13
) -> Graph:
    """As `optimize_model`, left taken apart."""
    loaded = load(model)
    if input_shapes:
        _check_names(loaded, input_shapes)
        loaded = fixed_inputs(loaded, input_shapes)
    graph = _folded(Graph(_inferred(convert_opset(loaded, opset_version))))
    for run in PASSES:
        run(graph)
        graph = Graph(_inferred(graph.model()))
    return graph


def _folded(graph: Graph) -> Graph:
    """Constants folded until nothing changes: shapes that folding made known make further Shape nodes constant."""
    while True:
        before = len(graph.nodes)
        fold_constants(graph)
        graph = Graph(_inferred(graph.model()))
        if len(graph.nodes) == before:
            return graph


def load(model: onnx.ModelProto | bytes) -> onnx.ModelProto:
    """A model, read if it is bytes. Raises QuantizeError[BadModel]."""
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        return onnx.load_model_from_string(model)
    except Exception as error:
        raise QuantizeError("BadModel", f"this is not an ONNX model: {error}") from error


def _check_names(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    names = [i.name for i in model.graph.input]
    for name in shapes:
        if name not in names:
            raise QuantizeError(
                "UnknownInput", f"input_shapes names '{name}', the model has the inputs {', '.join(names) or 'none'}"
            )


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return infer_shapes(model)
    except Exception as error:
        raise QuantizeError("BadModel", f"shape inference refuses the model: {str(error).strip()}") from error
