"""The outputs of a model: each a value of the graph under the output's own name."""

from __future__ import annotations

from collections.abc import Mapping

from furc.frontend.entries import Constant, OnHost, Quantized, QuantizedConstant, Stored, Unary
from furc.frontend.onnx.host_calls import FLOATING, HostCalls
from furc.frontend.onnx.hosted import Cause
from furc.frontend.onnx.node import QUANTIZE as QUANTIZE_AGAIN
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.refusals import EXPORT
from isa.errors import Loc, LowerError, SourceError
from passes.ir.op import Op, Value
from passes.ir.types import DType, Quant, TensorType
from passes.ops.host import Dequantize, Recast
from passes.ops.move import Reshape


def output(context: HostCalls, tensor: str) -> Value:
    """The value of a graph output, under the output's own name."""
    maker = context.makers.get(tensor)
    at = maker.loc if maker else Loc(context.model.source, detail=f"output '{tensor}'")
    if tensor not in context.env:
        raise SourceError("InvalidGraph", f"nothing makes output '{tensor}'", at=at, hint=EXPORT)
    entry = context.env[tensor]
    if maker is None or isinstance(entry, Constant | QuantizedConstant):
        hint = "remove this output: its value is known without running the model"
        raise LowerError("ConstantOutput", f"output '{tensor}' does not depend on computation", at=at, hint=hint)
    if isinstance(entry, Stored):
        return _stored_output(context, entry, tensor, at)
    if isinstance(entry, OnHost):
        return _host_output(context, entry, tensor, maker)
    node = Node(maker.proto, maker.index, maker.source, maker.opset)
    if isinstance(entry, Quantized):
        value = entry.value
    elif isinstance(entry, Unary) and context.stays_on_grid(entry):
        value = context.complete(entry, entry.x.type.q, f"{tensor}.int8", node.loc)
    else:
        _pull_output(context, tensor, node)
        return Value(tensor, TensorType(tuple(entry.shape), DType.F32))  # of a walk that is not the last
    return _named(context, Dequantize, value, TensorType(value.type.shape, DType.F32), tensor, at)


def _pull_output(context: HostCalls, tensor: str, maker: Node) -> None:
    if not isinstance(context.env[tensor], FLOATING):  # an input under another name
        context.hosts.setdefault(maker.index, Cause(f"output '{tensor}' is never quantized", QUANTIZE_AGAIN))
    cause = Cause(f"output '{tensor}' is the float result of {maker.op}, never quantized", QUANTIZE_AGAIN)
    before = set(context.hosts)
    context.pull(tensor, maker)
    context.hosts |= {index: cause for index in context.hosts if index not in before}


def _host_output(context: HostCalls, entry: OnHost, tensor: str, maker: Node) -> Value:
    """What a call makes, under the output's name."""
    value = entry.value
    others = [o.name for o in context.model.proto.graph.output if o.name != tensor]
    if value in context.graph.inputs or value.name in others:
        context.hosts.setdefault(maker.index, Cause(f"output '{tensor}' is an input or another output", ""))
    value.name = tensor
    return value


def _stored_output(context: HostCalls, entry: Stored, tensor: str, at: Loc) -> Value:
    value = entry.value
    if entry.unsigned:
        quant = Quant(value.type.q.scale, (value.type.q.z + 128,))
        return _named(context, Recast, value, TensorType(value.type.shape, DType.U8, quant), tensor, at)
    taken = value in context.graph.inputs or value in context.graph.outputs or value in context.graph.constants
    if taken:  # one value cannot carry two names
        return _named(context, Reshape, value, value.type, tensor, at, to=value.type.shape)
    value.name = tensor
    return value


def _named(
    context: HostCalls, cls: type[Op], x: Value, type: TensorType, tensor: str, at: Loc, **more: object
) -> Value:
    result = Value(tensor, type)
    arguments: Mapping[str, object] = {"x": x, **more}
    context.graph.ops.append(cls(results=(result,), loc=at, **arguments))
    return result
