"""QuantizeLinear and DequantizeLinear: where float tensors become values of the graph and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from furc.frontend.dfg_builder import IDENTITY
from furc.frontend.entries import Constant, Entry, GraphInput, OnHost, Quantized, QuantizedConstant, Stored
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.registry import OnnxContext, operator
from isa.enf import OPEN
from isa.errors import LowerError, counted
from passes.ir.op import Array
from passes.ir.types import DType, Quant, per_tensor

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
UINT8 = np.dtype(np.uint8)
ELEMENT_TYPES = (UINT8, np.dtype(np.int8))  # that the NPU computes with


class Parameters(NamedTuple):
    """What a QuantizeLinear or DequantizeLinear states. scale, zero: one, or one for each index of axis."""

    scale: NDArray[np.float32]
    zero: NDArray[np.int64]
    dtype: np.dtype[np.generic] | None  # of the integers; None where the node leaves it to the tensor
    axis: int

    @property
    def per_tensor(self) -> bool:
        return self.scale.size == 1


def read_parameters(context: OnnxContext, node: Node) -> Parameters:
    """Scale, zero point and element type. Raises LowerError for forms the NPU does not have."""
    if node.integer("block_size", 0):
        raise node.unsupported("blocked quantization does not run on the NPU", "quantize per tensor or per channel")
    inexact = node.integer("precision" if node.op == QUANTIZE else "output_dtype", TensorProto.FLOAT)
    if inexact not in (TensorProto.UNDEFINED, TensorProto.FLOAT):
        kind = TensorProto.DataType.Name(inexact).lower() if inexact in TensorProto.DataType.values() else inexact
        raise node.unsupported(f"{node.op} computes in {kind}, the NPU as in float32", "state float, or nothing")
    scale = context.known(node, 1).astype(np.float32).reshape(-1)
    possible = np.isfinite(scale) & (scale > 0)
    if not possible.all():
        raise node.invalid(f"a scale is {scale[~possible][0]}, expected a positive number")
    dtype: np.dtype[np.generic] | None
    if node.has_input(2):
        stored = context.known(node, 2)
        dtype, zero = stored.dtype, stored.astype(np.int64).reshape(-1)
    else:
        dtype, zero = _stated(node), np.zeros(scale.shape, np.int64)
    if zero.shape != scale.shape:
        raise node.invalid(f"{counted(scale.size, 'scale')} but {counted(zero.size, 'zero point')}")
    return Parameters(scale, zero, dtype, node.integer("axis", 1))


def check_alike(node: Node, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
    """A QuantizeLinear or DequantizeLinear that the host runs has a zero point for every scale. shapes: of what it
    reads, None or OPEN where only a run tells. Raises SourceError."""
    if node.op not in (QUANTIZE, DEQUANTIZE) or not node.has_input(2):
        return
    scale, zero = (shapes.get(name) for name in node.inputs[1:3])
    if scale is None or zero is None or OPEN in (*scale, *zero) or math.prod(scale) == math.prod(zero) == 1:
        return
    if scale != zero:
        raise node.invalid(f"its scale is {list(scale)}, its zero point {list(zero)}")


def _stated(node: Node) -> np.dtype[np.generic] | None:
    """The element type of a QuantizeLinear without zero point. That of a DequantizeLinear is its result's, a float."""
    number = node.integer("output_dtype", 0) if node.op == QUANTIZE else 0
    if number and number not in TensorProto.DataType.values():
        raise node.invalid(f"output_dtype is {number}, no element type")
    return helper.tensor_dtype_to_np_dtype(number) if number else None


def activation_quant(parameters: Parameters, node: Node) -> Quant:
    """The quantization of an activation, in int8. Raises LowerError where it is not one of int8 or uint8 per tensor."""
    dtype = parameters.dtype or UINT8
    if dtype not in ELEMENT_TYPES:
        raise node.unsupported(f"activations are {dtype}, the NPU computes in int8", "quantize to 8 bits")
    if not parameters.per_tensor:
        raise node.unsupported(
            f"an activation has {parameters.scale.size} scales, the NPU has one a tensor", "quantize per tensor"
        )
    return per_tensor(float(parameters.scale[0]), int(parameters.zero[0]) - (128 if dtype == UINT8 else 0))


@operator(QUANTIZE)
def quantize_linear(context: OnnxContext, node: Node) -> Entry:
    parameters, entry = read_parameters(context, node), context.entry(node, 0)
    if isinstance(entry, Constant | QuantizedConstant):
        return Constant(quantize_array(entry.array, parameters, node))
    if isinstance(entry, Stored):
        raise node.invalid("its input is quantized already")
    quant = activation_quant(parameters, node)
    name = node.inputs[0]
    value = context.complete(entry, quant, f"{name}.int8" if isinstance(entry, GraphInput | OnHost) else name, node.loc)
    return Stored(value, (parameters.dtype or UINT8) == UINT8)


def quantize_array(array: Array, parameters: Parameters, node: Node) -> Array:
    """Integers of known real values: rint(x / scale) + zero, saturated. Per channel along the node's axis."""
    dtype = parameters.dtype or UINT8
    if not np.issubdtype(dtype, np.integer):
        raise node.unsupported(f"quantization to {dtype} does not run on the NPU", "quantize to int8")
    shape = _channel_shape(array, parameters, node)
    limits = np.iinfo(dtype.name)
    scaled = np.rint(array.astype(np.float32) / parameters.scale.reshape(shape))
    result: Array = np.clip(scaled.astype(np.float64) + parameters.zero.reshape(shape), limits.min, limits.max)
    return result.astype(dtype)


def _channel_shape(array: Array, parameters: Parameters, node: Node) -> list[int]:
    """The shape in which scales broadcast against the array."""
    shape = [1] * array.ndim
    if not parameters.per_tensor:
        axis = checked_axis(parameters.axis, array.ndim, node)
        if array.shape[axis] != parameters.scale.size:
            raise node.invalid(f"{counted(parameters.scale.size, 'scale')} for an axis of {array.shape[axis]}")
        shape[axis] = -1
    return shape


def checked_axis(axis: int, rank: int, node: Node) -> int:
    """A possibly negative axis as 0 .. rank - 1."""
    if not -rank <= axis < rank:
        raise node.invalid(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


@operator(DEQUANTIZE)
def dequantize_linear(context: OnnxContext, node: Node) -> Entry:
    parameters, entry = read_parameters(context, node), context.entry(node, 0)
    if isinstance(entry, Constant):
        _channel_shape(entry.array, parameters, node)
        if not np.issubdtype(entry.array.dtype, np.integer):
            raise node.unsupported(f"it reads {entry.array.dtype}, the NPU computes in int8", "quantize to int8")
        return QuantizedConstant(
            name=node.inputs[0],
            stored=entry.array,
            scale=parameters.scale,
            zero=parameters.zero,
            axis=None if parameters.per_tensor else checked_axis(parameters.axis, entry.array.ndim, node),
        )
    if isinstance(entry, GraphInput) and entry.value.type.dtype is not DType.F32:
        return Quantized(context.bind_input(entry, _input_quant(entry, parameters, node), node.loc))
    if not isinstance(entry, Stored):
        raise node.invalid("its input is not quantized")
    kind = np.dtype(np.uint8 if entry.unsigned else np.int8)
    quant = activation_quant(parameters._replace(dtype=parameters.dtype or kind), node)
    if quant == entry.value.type.quant:
        return Quantized(entry.value)
    # The same integers read under another scale: a table that changes only what they mean.
    return Quantized(context.builder.table(entry.value, IDENTITY, quant, node.output, node.loc))


def _input_quant(entry: GraphInput, parameters: Parameters, node: Node) -> Quant:
    kind = entry.value.type.dtype.numpy
    if parameters.dtype not in (None, kind):
        raise node.invalid(f"the input is {kind}, its zero point {parameters.dtype}")
    return activation_quant(parameters._replace(dtype=kind), node)


@operator("Cast")
def cast(context: OnnxContext, node: Node) -> Entry:
    """From float to float nothing changes; an integer graph input becomes float with scale 1."""
    entry, to = context.entry(node, 0), node.integer("to", 0)
    if to != 1:
        raise node.unsupported(f"Cast to element type {to} does not run on the NPU")
    if isinstance(entry, GraphInput) and entry.value.type.dtype is not DType.F32:
        zero = -128 if entry.value.type.dtype is DType.U8 else 0
        return Quantized(context.bind_input(entry, per_tensor(1.0, zero), node.loc))
    if isinstance(entry, Stored):
        raise LowerError(
            "UnquantizedTensor", "Cast of a quantized tensor to float drops its scale", at=node.loc,
            hint="use DequantizeLinear",
        )  # fmt: skip
    return entry
