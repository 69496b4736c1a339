"""From a float model and a range for every tensor to an INT8 model."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from furc.onnx.files import Source, in_file
from furc.onnx.graph import Graph
from furc.quantizer.grids.affine import Range
from furc.quantizer.grids.qdq import check_not_quantized, write_qdq
from furc.quantizer.grids.scheme import choose_grids
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.options import Form
from furc.quantizer.write.calibrated import calibrated_ranges, write_calibrated
from furc.quantizer.write.editor import Retype, TensorType, apply_retype, note_retype, noted_retypes, retype_inputs
from isa.errors import QuantizeError

SHOWN_OPERATORS = 8


def quantize(model: Source, tensor_name_to_range: Mapping[str, Range] | None = None, *, form: Form = "qdq") -> bytes:
    """The model with these ranges, by default those in its metadata. form: see QuantizeOptions.

    Raises QuantizeError[MissingRange, BadRange, AlreadyQuantized].
    """
    with in_file(model):
        graph = optimize_graph(model)
        check_not_quantized(graph)
        ranges = calibrated_ranges(graph) if tensor_name_to_range is None else tensor_name_to_range
        return bytes(written(graph, ranges, form).SerializeToString())


def written(graph: Graph, ranges: Mapping[str, Range], form: Form, input_dtype: str = "float32") -> onnx.ModelProto:
    """An optimized float model with these ranges. input_dtype: of the inputs that are quantized; in the calibrated form
    a note of that, which a compile carries out. Raises QuantizeError[MissingRange, BadRange, NothingToQuantize]."""
    scheme = choose_grids(graph, ranges)  # also for the calibrated form: it refuses ranges that could not be used
    if form == "calibrated":
        noted = graph.copied()
        for name in graph.inputs if input_dtype != "float32" else ():
            if name in scheme.grids:
                note_retype(noted, Retype(name, TensorType(input_dtype), None))
        return write_calibrated(noted, ranges)
    made = Graph(write_qdq(graph, scheme))
    if not any(node.op == "QuantizeLinear" for node in made.nodes):
        raise QuantizeError(
            "NothingToQuantize", f"no operator of the model computes on int8: {_operators(graph)}",
            hint="quantize a model with operators such as Conv, Gemm, Add or MaxPool",
        )  # fmt: skip
    retype_inputs(made, input_dtype)
    for retype in noted_retypes(graph):
        apply_retype(made, retype)
    return made.model()


def _operators(graph: Graph) -> str:
    """What the model is made of, for a message."""
    kinds = sorted({node.op for node in graph.nodes})
    return "it has " + ", ".join(kinds[:SHOWN_OPERATORS]) if kinds else "it has no operators"
