"""Change the element types of a quantized model's inputs and outputs, and fold pixel normalization into a float model.

A uint8 or int8 input replaces float input, QuantizeLinear and all: stored values are fed as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from furc.onnx.files import Source, load
from furc.onnx.graph import Graph, Node, make
from furc.onnx.model_proto import input_infos
from furc.quantizer.grids.affine import LOW, Range, as_range, grid
from isa.errors import Loc, QuantizeError, counted

NOTES_KEY = "furc.TensorTypes"  # JSON: [name, type, [low, high] or null] for each
UNSIGNED_SHIFT = -LOW  # uint8 = int8 + 128


class TensorType(StrEnum):
    """Element types of a quantized model's inputs and outputs."""

    UINT8 = "uint8"
    INT8 = "int8"
    FLOAT32 = "float32"


def _type_named(name: str) -> TensorType:
    """Raises QuantizeError[BadOption]."""
    if name not in {*TensorType}:
        raise QuantizeError("BadOption", f"tensor_type is '{name}'", hint=f"one of {', '.join(TensorType)}")
    return TensorType(name)


def get_pure_input_names(model: onnx.ModelProto) -> list[str]:
    """The graph inputs that are not also initializers."""
    return [info.name for info in input_infos(model)]


def get_output_names(model: onnx.ModelProto) -> list[str]:
    return [o.name for o in model.graph.output]


class ModelEditor:
    """Edits a model in place; `model` is the one it was given, or made from the bytes it was given.

    On a QDQ model a conversion is done at once. On a float model it is noted in the metadata, and `quantize` does it:
    that is the order in which scripts for the vendor's SDK call them.
    """

    def __init__(self, model: Source) -> None:
        self.model = model if isinstance(model, onnx.ModelProto) else load(model)

    def convert_input_type(self, tensor_name: str, tensor_type: TensorType | str) -> None:
        """Let an input be fed stored values. UINT8: 0..255 stand for the input's calibrated range.

        Raises QuantizeError[BadOption, UnknownInput, NotQuantized].
        """
        graph, wanted = Graph(self.model), _type_named(tensor_type)
        if tensor_name not in graph.inputs:
            raise _unknown("UnknownInput", "input", tensor_name, graph.inputs)
        self._convert(graph, Retype(tensor_name, wanted, None))

    def convert_output_type(
        self, tensor_name: str, tensor_type: TensorType | str, tensor_range: Range | None = None
    ) -> None:
        """Let an output be stored values. tensor_range: what they stand for, by default the calibrated range.

        Raises QuantizeError[BadOption, UnknownOutput, NotQuantized, BadRange].
        """
        graph, wanted = Graph(self.model), _type_named(tensor_type)
        if tensor_name not in graph.outputs:
            raise _unknown("UnknownOutput", "output", tensor_name, graph.outputs)
        given = None if tensor_range is None else as_range(tensor_range, f"output '{tensor_name}'")
        self._convert(graph, Retype(tensor_name, wanted, given))

    def retype_as(self, tensor_name: str, tensor_type: TensorType | str, tensor_range: Range | None = None) -> None:
        """convert_input_type or convert_output_type, by what the name is."""
        if tensor_name in get_pure_input_names(self.model):
            self.convert_input_type(tensor_name, tensor_type)
        else:
            self.convert_output_type(tensor_name, tensor_type, tensor_range)

    def fold_normalization(
        self, tensor_name: str, mean: Sequence[float], std: Sequence[float], scale: float = 1.0
    ) -> None:
        """Let a float model take raw pixels p instead of (p * scale - mean) / std; mean, std: a number a channel.

        Exact, and done, only where all readers are Convs over constant weights that pad nothing, or pad where mean is
        0: padding would else stand for other pixels. Raises QuantizeError[UnknownInput, NotExact].
        """
        graph = Graph(self.model)
        if tensor_name not in graph.inputs:
            raise _unknown("UnknownInput", "input", tensor_name, graph.inputs)
        factor = np.float64(scale) / np.asarray(std, np.float64)
        offset = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
        for conv in graph.readers(tensor_name):
            _check_exact(graph, conv, factor, offset)
        for conv in graph.readers(tensor_name):
            _fold(graph, conv, factor, offset)
        graph.remove_dead()
        self.model.CopyFrom(graph.model())

    def _convert(self, graph: Graph, retype: Retype) -> None:
        if any(node.op == "QuantizeLinear" for node in graph.nodes):
            apply_retype(graph, retype)
        else:
            note_retype(graph, retype)
        self.model.CopyFrom(graph.model())


class Retype(NamedTuple):
    """That an input or output is to be stored values. range: of an output, None for the calibrated one."""

    tensor: str
    type: TensorType
    range: Range | None


def noted_retypes(graph: Graph) -> list[Retype]:
    """What ModelEditor noted in a float model's metadata."""
    try:
        entries = json.loads(graph.metadata.get(NOTES_KEY, "[]"))
        return [_noted(entry) for entry in entries]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        what = f"the metadata {NOTES_KEY} is not what ModelEditor notes: {error}"
        raise QuantizeError("BadModel", what, at=Loc(detail=NOTES_KEY), hint="convert the types again") from error


def _noted(entry: object) -> Retype:
    """Raises ValueError, TypeError and OverflowError."""
    match entry:
        case [str(name), str(kind), None]:
            return Retype(name, TensorType(kind), None)
        case [str(name), str(kind), [int() | float() as low, int() | float() as high]]:
            return Retype(name, TensorType(kind), (float(low), float(high)))
    raise ValueError("an entry is a name, a type, and two numbers or null")


def apply_retype(graph: Graph, retype: Retype) -> None:
    """Convert an input or output of a QDQ graph, which are float32. Raises QuantizeError[NotQuantized, BadRange,
    BadOption]."""
    if retype.type is TensorType.FLOAT32:
        if _is_stored(graph, retype.tensor):
            raise QuantizeError("BadOption", f"'{retype.tensor}' is stored values already: there is no way back",
                                hint="convert the model as it was quantized")  # fmt: skip
        return
    if retype.tensor in graph.inputs:
        _retype_input(graph, retype.tensor, retype.type)
    else:
        _retype_output(graph, retype)
    graph.remove_dead()


def _is_stored(graph: Graph, name: str) -> bool:
    made = graph.producer(name)
    if made is not None:
        return made.op == "QuantizeLinear"
    return any(reader.op == "DequantizeLinear" for reader in graph.readers(name))


def retype_inputs(graph: Graph, dtype: str) -> None:
    """Make all inputs that a QuantizeLinear reads uint8 or int8; "float32" changes nothing."""
    for name in list(graph.inputs):
        if any(node.op == "QuantizeLinear" for node in graph.readers(name)):
            apply_retype(graph, Retype(name, TensorType(dtype), None))


def note_retype(graph: Graph, retype: Retype) -> None:
    """In a float model's metadata, for `quantize` and for a compile to carry out."""
    kept = [r for r in noted_retypes(graph) if r.tensor != retype.tensor]
    graph.set_metadata(NOTES_KEY, json.dumps([list(r) for r in (*kept, retype)]))


def _retype_input(graph: Graph, name: str, wanted: TensorType) -> None:
    readers = graph.readers(name)
    if len(readers) != 1 or readers[0].op != "QuantizeLinear":
        raise _not_quantized(f"input '{name}' is not read by one QuantizeLinear")
    quantizer = readers[0]
    for reader in graph.readers(quantizer.output):
        reader.inputs = [name if other == quantizer.output else other for other in reader.inputs]
        _retype_zero(graph, reader, wanted)
    graph.remove([quantizer])
    graph.set_info(_retyped(graph, name, wanted))


def _retype_output(graph: Graph, retype: Retype) -> None:
    name = retype.tensor
    dequantizer = graph.producer(name)
    quantizer = graph.producer(dequantizer.inputs[0]) if dequantizer is not None else None
    if dequantizer is None or dequantizer.op != "DequantizeLinear" or quantizer is None:
        raise _not_quantized(f"output '{name}' is not made by a QuantizeLinear and a DequantizeLinear")
    if graph.readers(name) or graph.readers(quantizer.output) != [dequantizer]:
        quantizer = _own_quantizer(graph, quantizer, dequantizer, name)
    if retype.range is not None:
        _regrid(graph, quantizer, name, retype.range)
    _retype_zero(graph, quantizer, retype.type)
    if dequantizer.inputs[0] == quantizer.output:
        graph.remove([dequantizer])
    quantizer.outputs = [name]
    graph.set_info(_retyped(graph, name, retype.type))
    graph.changed()


def _unknown(name: str, what: str, given: str, known: Sequence[str]) -> QuantizeError:
    return QuantizeError(name, f"there is no {what} '{given}'", hint=f"the model has {', '.join(known) or 'none'}")


def _not_quantized(message: str) -> QuantizeError:
    return QuantizeError("NotQuantized", message, hint="quantize the model first, in QDQ form")


def _retype_zero(graph: Graph, node: Node, wanted: TensorType) -> None:
    """Give a Q or DQ node a zero point of the wanted type, which stands for the same real number."""
    zero = graph.constants[node.inputs[2]]
    shifted = zero.astype(np.int32) + (UNSIGNED_SHIFT if zero.dtype == np.int8 else 0)
    value = shifted.astype(np.uint8) if wanted is TensorType.UINT8 else (shifted - UNSIGNED_SHIFT).astype(np.int8)
    node.inputs[2] = graph.add_constant(f"{node.inputs[2]}_{wanted}", value)
    graph.changed()


def _retyped(graph: Graph, name: str, wanted: TensorType) -> onnx.ValueInfoProto:
    kind = TensorProto.UINT8 if wanted is TensorType.UINT8 else TensorProto.INT8
    return helper.make_tensor_value_info(name, kind, graph.shape(name))


def _own_quantizer(graph: Graph, quantizer: Node, dequantizer: Node, name: str) -> Node:
    """A QuantizeLinear beside one that others read as well; readers of the output read the DequantizeLinear instead."""
    own = make("QuantizeLinear", list(quantizer.inputs), [f"{name}_stored"], f"{name}/StoredOutput")
    dequantizer.outputs = [graph.fresh(f"{name}_dequantized")]
    graph.rename_reads(name, dequantizer.output)
    at = graph.nodes.index(quantizer)
    graph.nodes.insert(at + 1, own)
    graph.changed()
    return own


def _regrid(graph: Graph, quantizer: Node, name: str, wanted: Range) -> None:
    if not (np.isfinite(wanted).all() and wanted[0] < wanted[1]):
        raise QuantizeError(
            "BadRange", f"output '{name}' is given the range {wanted}", at=Loc(detail=f"output '{name}'")
        )
    g = grid(*wanted)
    quantizer.inputs[1] = graph.add_constant(f"{name}_own_scale", np.array(g.scale, np.float32))
    quantizer.inputs[2] = graph.add_constant(f"{name}_own_zero", np.array(g.zero, np.int8))
    graph.changed()


def _check_exact(graph: Graph, conv: Node, factor: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
                 offset: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:  # fmt: skip
    weight, bias = graph.constants.get(conv.input(1)), conv.input(2)
    if conv.op != "Conv" or weight is None or int(conv.get("group", 1)) != 1 or (bias and bias not in graph.constants):
        raise QuantizeError("NotExact", f"{conv.op} is no plain Conv over constant weights", at=conv.loc)
    if factor.size not in (1, weight.shape[1]) or offset.size not in (1, weight.shape[1]):
        raise QuantizeError(
            "NotExact",
            f"mean has {offset.size} and std {factor.size} numbers for {counted(weight.shape[1], 'channel')}",
            at=conv.loc,
        )
    padded = any(conv.get("pads", [0])) or conv.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if padded and offset.any():
        raise QuantizeError(
            "NotExact",
            "the Conv pads with zeros, which are the mean pixel before folding and black after it",
            at=conv.loc,
            hint="fold the scale alone (mean 0), or use convert_input_type: quantization absorbs the mean exactly",
        )


def _fold(graph: Graph, conv: Node, factor: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
          offset: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:  # fmt: skip
    weight = graph.constants[conv.inputs[1]].astype(np.float64)
    shape = (1, -1, *[1] * (weight.ndim - 2))
    shift = (weight * offset.reshape(shape)).sum(axis=tuple(range(1, weight.ndim)))
    bias = graph.constants.get(conv.input(2), np.zeros(weight.shape[0])) + shift
    stem = conv.name or conv.output
    names = [graph.add_constant(f"{stem}.weight", (weight * factor.reshape(shape)).astype(np.float32))]
    names.append(graph.add_constant(f"{stem}.bias", bias.astype(np.float32)))
    conv.inputs = [conv.inputs[0], *names]
    graph.changed()
