"""Inputs in the form in which the user has them: with axes in another order, or quantized already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx
from onnx import TensorProto, helper

from furc.onnx.model_proto import captured, input_infos
from isa.errors import ConfigError, Loc, counted


class InputForm(NamedTuple):
    """permute: for each input, how the axes that the user gives become those of the model; () for none. quantized: the
    user gives the integers that the model would make first."""

    permute: tuple[tuple[int, ...], ...] = ()
    quantized: bool = False


def apply_form(proto: onnx.ModelProto, form: InputForm, source: str) -> onnx.ModelProto:
    """The model that takes inputs in this form, changed in place. Raises ConfigError where they cannot be in it."""
    if form.quantized:
        for info in input_infos(proto):
            if info.type.tensor_type.elem_type == TensorProto.FLOAT:
                _take_integers(proto, info, source)
    if form.permute:
        infos = input_infos(proto)
        if len(form.permute) != len(infos):
            raise ConfigError(
                "BadConfigValue",
                f"permute_input has {counted(len(form.permute), 'order')}, the model {counted(len(infos), 'input')}",
                at=Loc(source), hint="one list of axes for each input, [] for an input that stays as it is",
            )  # fmt: skip
        for info, order in zip(infos, form.permute, strict=True):
            if order:
                _permute(proto, info, order, source)
    return proto


def _take_integers(proto: onnx.ModelProto, info: onnx.ValueInfoProto, source: str) -> None:
    """The input becomes what its QuantizeLinear makes."""
    readers = [node for node in proto.graph.node if info.name in (*node.input, *captured(node))]
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        names = ", ".join(f"'{node.name or node.output[0]}'" for node in readers)
        raise ConfigError(
            "BadConfigValue", f"without_quantize: input '{info.name}' is read as float by {names or 'nothing'}",
            at=Loc(source), hint="quantize the model so that one QuantizeLinear reads the input",
        )  # fmt: skip
    (quantize,) = readers
    zero = constants.get(quantize.input[2]) if len(quantize.input) > 2 else None
    info.type.tensor_type.elem_type = zero.data_type if zero is not None else TensorProto.UINT8
    proto.graph.node.remove(quantize)
    _reread(proto, quantize.output[0], info.name)


def _permute(proto: onnx.ModelProto, info: onnx.ValueInfoProto, order: Sequence[int], source: str) -> None:
    dims = info.type.tensor_type.shape.dim
    if sorted(order) != list(range(len(dims))):
        raise ConfigError(
            "BadConfigValue",
            f"permute_input: {list(order)} is no order of the {counted(len(dims), 'axis', 'axes')} of '{info.name}'",
            at=Loc(source), hint="permute_input: [[0, 3, 1, 2]] takes NHWC where the model has NCHW",
        )  # fmt: skip
    inner = f"{info.name}/permuted"
    _reread(proto, info.name, inner)
    given = [onnx.TensorShapeProto.Dimension() for _ in order]
    for axis, comes_from in enumerate(order):
        given[comes_from].CopyFrom(dims[axis])
    del dims[:]
    dims.extend(given)
    proto.graph.node.insert(0, helper.make_node("Transpose", [info.name], [inner], name=inner, perm=list(order)))


def _reread(proto: onnx.ModelProto, old: str, new: str) -> None:
    for node in proto.graph.node:
        renamed = [new if name == old else name for name in node.input]
        del node.input[:]
        node.input.extend(renamed)
