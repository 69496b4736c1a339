"""Functions of one tensor, sums and products of two, and what is normalized along channels."""

from __future__ import annotations

import math

import numpy as np
import onnx

from furc.tflite.activation import clipped, fused
from furc.tflite.model import Operator
from furc.tflite.registry import Order, operator
from furc.tflite.writer import TO_IMAGE, Writer

UNARY = {
    "LOGISTIC": "Sigmoid", "RELU": "Relu", "EXP": "Exp", "HARD_SWISH": "HardSwish", "SQRT": "Sqrt", "LOG": "Log",
    "ABS": "Abs", "NEG": "Neg", "TANH": "Tanh", "ELU": "Elu",
}  # fmt: skip
BINARY = {"ADD": "Add", "MUL": "Mul", "SUB": "Sub", "DIV": "Div", "MAXIMUM": "Max", "MINIMUM": "Min",
          "POW": "Pow"}  # fmt: skip
COMPARISONS = {"GREATER": "Greater", "GREATER_EQUAL": "GreaterOrEqual", "LESS": "Less", "LESS_EQUAL": "LessOrEqual",
               "EQUAL": "Equal"}  # fmt: skip


def same_order(writer: Writer, node: Operator) -> tuple[str, bool]:
    """The first operand in the order that it is in, and whether that is n, c, h, w."""
    number = node.inputs[0]
    image = writer.is_image(number)
    return writer.image(number) if image else writer.plain(number), image


@operator(*UNARY, order=Order.EITHER)
def unary(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    if node.op == "TANH" and writer.tensor(node.inputs[0]).quantized:
        made = _tanh(writer, x)
    else:
        made = writer.emit(UNARY[node.op], [x])
    writer.result(node.outputs[0], made, image=image)


def _tanh(writer: Writer, x: str) -> str:
    """2 sigmoid(2 x) - 1: on int8 a table as any other, and each of its operators has one on the NPU."""
    two, one = writer.constant("two", np.array(2, np.float32)), writer.constant("one", np.array(1, np.float32))
    half = writer.emit("Sigmoid", [writer.emit("Mul", [x, two])])
    return writer.emit("Sub", [writer.emit("Mul", [half, two]), one])


@operator("SQUARE", order=Order.EITHER)
def square(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    writer.result(node.outputs[0], writer.emit("Mul", [x, x]), image=image)


@operator("RSQRT", order=Order.EITHER)
def reciprocal_root(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    made = writer.emit("Reciprocal", [writer.emit("Sqrt", [x])])
    writer.result(node.outputs[0], made, image=image)


@operator("GELU", order=Order.EITHER)
def gelu(writer: Writer, node: Operator) -> None:
    """x / 2 * (1 + erf(x / sqrt(2))), as exporters of ONNX write it, or its approximation by tanh."""
    x, image = same_order(writer, node)
    one, half = (writer.constant(name, np.array(v, np.float32)) for name, v in (("one", 1), ("half", 0.5)))
    if node.option("Approximate"):
        cubic, root = (writer.constant("factor", np.array(v, np.float32)) for v in (0.044715, math.sqrt(2 / math.pi)))
        cube = writer.emit("Mul", [writer.emit("Mul", [x, x]), x])
        inner = writer.emit("Add", [x, writer.emit("Mul", [cube, cubic])])
        between = writer.emit("Tanh", [writer.emit("Mul", [inner, root])])
    else:
        between = writer.emit("Erf", [writer.emit("Div", [x, writer.constant("root", np.array(2**0.5, np.float32))])])
    made = writer.emit("Mul", [writer.emit("Mul", [x, writer.emit("Add", [between, one])]), half])
    writer.result(node.outputs[0], made, image=image)


@operator("PRELU", order=Order.EITHER)
def prelu(writer: Writer, node: Operator) -> None:
    """Slopes [c], [1, 1, c] or one for each element."""
    writer.known(node, 1)
    x, image = same_order(writer, node)
    writer.result(node.outputs[0], writer.emit("PRelu", [x, _operand(writer, node, 1, image)]), image=image)


@operator("RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", order=Order.EITHER)
def relu6(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    bounds = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
    writer.result(node.outputs[0], clipped(writer, x, *bounds[node.op]), image=image)


@operator("LEAKY_RELU", order=Order.EITHER)
def leaky_relu(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    writer.result(node.outputs[0], writer.emit("LeakyRelu", [x], alpha=node.fraction("Alpha", 0.0)), image=image)


@operator("SOFTMAX", "L2_NORMALIZATION", "LOG_SOFTMAX")
def along_channels(writer: Writer, node: Operator) -> None:
    """Along TFLite's last axis."""
    x, image = same_order(writer, node)
    if node.op == "SOFTMAX" and node.fraction("Beta", 1.0) != 1.0:
        raise node.unsupported(f"SOFTMAX with beta {node.fraction('Beta', 1.0)} does not run on the NPU", "use 1")
    name = {"SOFTMAX": "Softmax", "LOG_SOFTMAX": "LogSoftmax", "L2_NORMALIZATION": "LpNormalization"}[node.op]
    writer.result(node.outputs[0], writer.emit(name, [x], axis=1 if image else -1), image=image)


@operator(*BINARY, "SQUARED_DIFFERENCE", order=Order.EITHER)
def binary(writer: Writer, node: Operator) -> None:
    operands, image = _together(writer, node, 2)
    if node.op == "SQUARED_DIFFERENCE":
        difference = writer.emit("Sub", operands)
        writer.result(node.outputs[0], writer.emit("Mul", [difference, difference]), image=image)
        return
    negated = node.op == "SUB" and writer.tensor(node.inputs[1]).data is not None
    made = writer.emit("Add" if negated else BINARY[node.op], operands)
    writer.result(node.outputs[0], fused(writer, node, made) if node.op in FUSING else made, image=image)


FUSING = ("ADD", "MUL", "SUB", "DIV")


@operator(*COMPARISONS, "NOT_EQUAL", order=Order.EITHER)
def comparison(writer: Writer, node: Operator) -> None:
    """Of two tensors, or of one and a constant: a condition for SELECT_V2, or for a CAST to numbers."""
    operands, image = _together(writer, node, 2)
    if (made_of := writer.tensor(node.outputs[0]).dtype) != np.bool_:
        raise node.invalid(f"a condition of {made_of}")
    if node.op == "NOT_EQUAL":
        made = writer.emit("Not", [writer.emit("Equal", operands)])
    else:
        made = writer.emit(COMPARISONS[node.op], operands)
    writer.result(node.outputs[0], made, image=image)


@operator("SELECT", "SELECT_V2", order=Order.EITHER)
def select(writer: Writer, node: Operator) -> None:
    """The second operand where the first holds, the third elsewhere."""
    operands, image = _together(writer, node, 3)
    condition, x = (writer.tensor(node.inputs[i]) for i in (0, 1))
    if condition.dtype != np.bool_:
        raise node.invalid(f"a condition of {condition.dtype}")
    if node.op == "SELECT" and 0 < condition.rank < x.rank:
        raise node.unsupported("SELECT of whole images by a condition for each does not run on the NPU")
    writer.result(node.outputs[0], writer.emit("Where", operands), image=image)


@operator("CAST", order=Order.EITHER)
def cast(writer: Writer, node: Operator) -> None:
    """Of a condition to 0 and 1, as Keras writes a ReLU with a threshold: x * cast(x > threshold)."""
    x, y = writer.tensor(node.inputs[0]), writer.tensor(node.outputs[0])
    if x.dtype != np.bool_ or y.dtype != np.float32:
        raise node.unsupported(f"CAST of {x.dtype} to {y.dtype} does not run on the NPU")
    name, image = same_order(writer, node)
    writer.result(node.outputs[0], writer.emit("Cast", [name], to=onnx.TensorProto.FLOAT), image=image)


def _together(writer: Writer, node: Operator, count: int) -> tuple[list[str], bool]:
    """All operands in one order of axes, and whether that is n, c, h, w."""
    if len(node.inputs) != count or min(node.inputs) < 0:
        raise node.invalid(f"{len(node.inputs)} operands, expected {count}")
    image = any(map(writer.is_image, node.inputs)) and writer.tensor(node.outputs[0]).rank == 4
    return [_operand(writer, node, i, image) for i in range(count)], image


def _operand(writer: Writer, node: Operator, index: int, image: bool) -> str:
    """One of several operands, in the common order; a constant that is subtracted comes negated."""
    number = node.inputs[index]
    tensor = writer.tensor(number)
    if tensor.data is None:
        if not image:
            return writer.plain(number)
        if tensor.rank == 4:
            return writer.image(number)
        shape = (1,) * (4 - tensor.rank) + tensor.shape
        return writer.turned(writer.reshaped(writer.plain(number), shape), shape, TO_IMAGE)
    array, zero = tensor.data if tensor.quantized else tensor.real, tensor.zero
    if image:
        array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(TO_IMAGE)
    if node.op == "SUB" and index == 1:
        # ~q - ~z = z - q, and it stays within eight bits
        array, zero = (~array, (~zero.astype(tensor.dtype))) if tensor.quantized else (-array, zero)
    if not tensor.quantized:
        return writer.constant("constant", array if tensor.dtype == np.bool_ else array.astype(np.float32))
    if tensor.scale.size > 1:
        raise node.unsupported(f"the constant '{tensor.name}' has one scale a channel", "quantize it per tensor")
    return writer.stored("constant", array, tensor.scale, zero, None)


@operator("QUANTIZE", "DEQUANTIZE", order=Order.EITHER)
def quantize(writer: Writer, node: Operator) -> None:
    """The quantization of the result says it all."""
    x, image = same_order(writer, node)
    writer.result(node.outputs[0], x, image=image)
