"""Read an ONNX file and check all that can be checked before any operator is looked at."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import onnx
from onnx import TensorProto, helper, inliner

from furc.frontend.onnx.as_quantized import LARGE, MadeOver, as_quantized, without_data
from furc.frontend.onnx.hosted import DTYPES
from furc.frontend.onnx.input_form import InputForm, apply_form
from furc.frontend.onnx.operator_form import in_qdq_nodes
from furc.isolated import Died, Worker, isolated
from furc.onnx.files import NEWEST_OPSET, OLDEST_OPSET, Source, load
from furc.onnx.half import in_single
from furc.onnx.model_proto import captured, fixed_batch, input_infos, lightened, opset_of
from furc.onnx.soundness import CHECK, NotValid, check_by_onnx, node_name, onnx_checker
from isa.errors import Loc, SourceError, counted, first_line
from passes.ir.types import DType

QUANTIZED_OPSET = 13
NEWEST_JUDGED = 21  # of float models as they are: operators that came later have no older form to be quantized in
QDQ = {"QuantizeLinear", "DequantizeLinear"}


class Input(NamedTuple):
    """A graph input that is not an initializer."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checked model. nodes: those that some output needs, each with its number in the file. made_over: of a float
    model that is judged, what the quantizer made of it, which proto is then."""

    proto: onnx.ModelProto
    source: str
    opset: int
    inputs: tuple[Input, ...]
    nodes: tuple[tuple[int, onnx.NodeProto], ...]
    made_over: MadeOver | None = None


def read_model(
    model: Source,
    input_shapes: Mapping[str, tuple[int, ...]],
    source: str,
    batch: int | None = None,
    form: InputForm = InputForm(),
    *,
    judged: bool = False,
) -> Model:
    """Load and check. batch: what open first axes become. judged: the model may be float, and is only looked at.

    Raises SourceError: as `load`, UnsupportedOpset, FloatModel, ..."""
    source = source or (str(model) if isinstance(model, str | Path) else "")
    with onnx_checker() as checker:
        proto = load(model, source)
        reading = _Reading(input_shapes, source, batch, form, checker)
        return reading.float_judged(proto) if judged and not is_quantized(proto) else reading.read(proto, judged)


def own_model(proto: onnx.ModelProto) -> Model:
    """A QDQ model of furc's own making: nothing about it needs to be checked, or made another form."""
    opset, inputs = _checked_opset(proto, ""), _inputs(proto, {}, "")
    return Model(proto=proto, source="", opset=opset, inputs=inputs, nodes=_needed(proto))


class _Reading(NamedTuple):
    """What read_model is asked for. checker: onnx's own, which gets ready meanwhile."""

    input_shapes: Mapping[str, tuple[int, ...]]
    source: str
    batch: int | None
    form: InputForm
    checker: Worker

    def read(self, proto: onnx.ModelProto, judged: bool) -> Model:
        """As the importer wants it."""
        opset = _checked_opset(proto, self.source)
        if proto.functions:
            proto = _inlined(proto, self.source)
        if not judged:
            proto = in_qdq_form(proto)
            _check_quantized(proto, self.source)
        proto, inputs = self._formed(proto)
        _check_valid(proto, self.source, self.checker)
        proto = in_qdq_nodes(proto)  # after the check: scales of channels are newer than some of these models
        return Model(proto=proto, source=self.source, opset=opset, inputs=inputs, nodes=_needed(proto))

    def float_judged(self, proto: onnx.ModelProto) -> Model:
        """A float model that is only looked at: as the quantizer makes it over, without its large weights."""
        proto, inputs = self._formed(in_single(proto))
        weights = {
            tensor.name: tuple(tensor.dims)
            for tensor in proto.graph.initializer
            if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) > LARGE
        }
        kept = [tensor for tensor in proto.graph.initializer if tensor.name not in weights]
        given = [info for info in proto.graph.input if info.name not in weights]
        shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in weights.items()]
        _replace(proto.graph.initializer, kept)
        _replace(proto.graph.input, [*given, *shown])
        opset = opset_of(proto)
        if opset and not OLDEST_OPSET <= opset <= NEWEST_JUDGED:
            from furc.quantizer.optimize.opset import convert_opset  # here: with the quantizer, which few models need

            for index, node in enumerate(proto.graph.node):
                node.name = node_name(node, index)  # else the converter makes up names
            proto = convert_opset(proto, QUANTIZED_OPSET)
        opset = _checked_opset(proto, self.source)
        if proto.functions:
            proto = _inlined(proto, self.source)
        _check_valid(proto, self.source, self.checker)
        made = as_quantized(proto, weights, {each.name: each.shape for each in inputs}, QUANTIZED_OPSET)
        if made is not None:
            proto, opset = made.proto, _checked_opset(made.proto, self.source)
        else:
            _replace(proto.graph.input, [info for info in proto.graph.input if info.name not in weights])
            proto.graph.initializer.extend(without_data(weights))
        nodes = _needed(proto)
        return Model(proto=proto, source=self.source, opset=opset, inputs=inputs, nodes=nodes, made_over=made)

    def _formed(self, proto: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Input, ...]]:
        """The model with inputs in the form that is asked for, and these."""
        proto = apply_form(proto, self.form, self.source)
        return proto, _inputs(proto, fixed_batch(proto, self.input_shapes, self.batch), self.source)


def _replace(field: Any, content: list[Any]) -> None:
    """The content of a repeated field."""
    copies = [type(each).FromString(each.SerializeToString()) for each in content]
    del field[:]
    field.extend(copies)


def in_qdq_form(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A float model that carries calibrated ranges, as the vendor's quantizer writes it, quantized; others as is."""
    if is_quantized(proto):  # the metadata stays when a model is quantized
        return proto
    from furc.quantizer.write.calibrated import is_calibrated  # here: see above
    from furc.quantizer.write.with_ranges import quantize

    return onnx.load_from_string(quantize(proto)) if is_calibrated(proto) else proto


def is_quantized(proto: onnx.ModelProto) -> bool:
    """Whether some of it is in INT8."""
    return any(node.op_type in QDQ or node.op_type.startswith(("QLinear", "QGemm")) for node in proto.graph.node)


def has_ranges(proto: onnx.ModelProto) -> bool:
    """Whether it can be read as INT8: some of it is, or it carries the calibrated ranges to make it so."""
    from furc.quantizer.write.calibrated import is_calibrated  # here: see above

    return is_quantized(proto) or is_calibrated(proto)


def _checked_opset(proto: onnx.ModelProto, source: str) -> int:
    opset = opset_of(proto)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        message = f"the model is of opset {opset}, furc reads {OLDEST_OPSET} to {NEWEST_OPSET}"
        up = "onnx.version_converter.convert_version(model, 13)"  # which has hardly a way down
        hint = up if opset < OLDEST_OPSET else f"export it with opset_version={NEWEST_OPSET}, or an older one"
        raise SourceError("UnsupportedOpset", message, at=Loc(source), hint=hint)
    return opset


def _check_valid(proto: onnx.ModelProto, source: str, checker: Worker) -> None:
    """onnx's own checker. It insists on names and shapes that ONNX Runtime can do without."""
    if not proto.graph.output:
        raise SourceError("InvalidGraph", "the model has no outputs", at=Loc(source), hint=CHECK)
    del proto.graph.value_info[:]
    proto.graph.name = proto.graph.name or "model"
    for info in (*proto.graph.input, *proto.graph.output):
        if info.type.HasField("tensor_type") and not info.type.tensor_type.HasField("shape"):
            info.type.tensor_type.shape.SetInParent()
    check_by_onnx(lightened(proto), checker, source)


def _inlined(proto: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """Without functions: their nodes in place of their calls."""
    try:
        data = isolated(lambda: bytes(inliner.inline_local_functions(proto).SerializeToString()))
        return onnx.ModelProto.FromString(data)
    except (*NotValid, Died) as error:
        message = f"not a valid ONNX graph: its functions cannot be inlined: {first_line(error)}"
        raise SourceError("InvalidGraph", message, at=Loc(source), hint=CHECK) from error


def _check_quantized(proto: onnx.ModelProto, source: str) -> None:
    if is_quantized(proto):
        return
    from furc.quantizer.grids.operators import QUANTIZED  # here: see above

    if not any(node.op_type in QUANTIZED for node in proto.graph.node):
        return  # of a model without anything to quantize the host runs all
    name = source or "MODEL"
    hint = f"furc quantize {quote(name)} -o {quote(Path(name).stem + '.int8.onnx')} --calibration-data DIR"
    message = "the model is float: it has no QuantizeLinear and DequantizeLinear"
    raise SourceError("FloatModel", message, at=Loc(source), hint=hint)


def _inputs(proto: onnx.ModelProto, given: Mapping[str, tuple[int, ...]], source: str) -> tuple[Input, ...]:
    infos = input_infos(proto)
    for name in given:
        if name not in {i.name for i in infos}:
            known = [i.name for i in infos]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"the inputs are {', '.join(known)}"
            raise SourceError("UnknownInput", f"the model has no input '{name}'", at=Loc(source), hint=hint)
    return tuple(_input(info, given.get(info.name), source) for info in infos)


def _input(info: onnx.ValueInfoProto, given: Sequence[int] | None, source: str) -> Input:
    tensor, at = info.type.tensor_type, Loc(source, detail=f"input '{info.name}'")
    dtype = DTYPES.get(tensor.elem_type)
    if dtype is None:
        known = TensorProto.DataType.keys()
        kind = known[tensor.elem_type] if 0 <= tensor.elem_type < len(known) else str(tensor.elem_type)
        message = f"its elements are {kind}, furc reads FLOAT, UINT8, INT8, INT32, INT64 and BOOL"
        raise SourceError("UnsupportedInput", message, at=at, hint="change the type of the input, or cut the model")
    if not tensor.HasField("shape"):
        if given is None:
            raise _dynamic(info, "None", source)
        return Input(info.name, dtype, _positive(tuple(given), at))
    dims = list(tensor.shape.dim)
    if given is not None and len(given) != len(dims):
        what = f"the model's has {counted(len(dims), 'axis', 'axes')}, {list(given)} has {len(given)}"
        raise SourceError("WrongShape", what, at=at, hint=_asked(info))
    shape = []
    batch = len(dims) > 1 and all(dim.HasField("dim_value") for dim in dims[1:])
    for i, dim in enumerate(dims):
        fixed = int(dim.dim_value) if dim.HasField("dim_value") else None
        if fixed is None and given is None and i == 0 and batch:
            shape.append(1)  # the batch is the compiler's to choose
            continue
        if fixed is None and given is None:
            raise _dynamic(info, f'Some(DimParam("{dim.dim_param}"))' if dim.dim_param else "None", source)
        asked = fixed if given is None else int(given[i])
        if fixed is not None and asked != fixed:
            message = f"axis {i} is {fixed} in the model, {asked} was asked for"
            raise SourceError("WrongShape", message, at=at, hint=_asked(info))
        shape.append(asked or 0)
    return Input(info.name, dtype, _positive(tuple(shape), at))


def _positive(shape: tuple[int, ...], at: Loc) -> tuple[int, ...]:
    if any(d < 1 for d in shape):
        raise SourceError("WrongShape", f"{list(shape)} has an axis without elements", at=at, hint=CHECK)
    return shape


def _dynamic(info: onnx.ValueInfoProto, dimension: str, source: str) -> SourceError:
    message = f"the static shape of tensor '{info.name}' contains an unsupported dimension value: {dimension}"
    return SourceError("DynamicShape", message, at=Loc(source), hint=_asked(info))


def _asked(info: onnx.ValueInfoProto) -> str:
    """The option that fixes the shape: what the model states, and likely values for the rest."""
    dims = list(info.type.tensor_type.shape.dim)
    likely = ["1", "3", "640", "640"]
    shape = [str(d.dim_value) if d.HasField("dim_value") else (likely[i] if i < 4 else "1") for i, d in enumerate(dims)]
    return f"--input-shape {info.name}={'x'.join(shape or likely)}"


def _needed(proto: onnx.ModelProto) -> tuple[tuple[int, onnx.NodeProto], ...]:
    """Nodes that lead to an output, in order."""
    live, kept = {o.name for o in proto.graph.output}, []
    for index, node in reversed(list(enumerate(proto.graph.node))):
        if live.intersection(node.output):
            kept.append((index, node))
            live.update(name for name in (*node.input, *captured(node)) if name)
    return tuple(kept[::-1])
