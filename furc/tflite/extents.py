"""Integers that a file computes from shapes, as converters write them where the batch is open: known once it is 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from furc.tflite.model import FIXED, Array, Int64, Operator, Tensor

INTEGERS = (np.dtype(np.int32), np.dtype(np.int64))
Evaluation: TypeAlias = Callable[[Operator, Sequence[Array]], Array]


def _taken(node: Operator, operands: Sequence[Array]) -> Array:
    """Of a vector; an element of its own where the axis shrinks away. Raises LowerError UnsupportedOperator."""
    if node.option("EllipsisMask") or node.option("NewAxisMask"):
        raise node.unsupported("STRIDED_SLICE of extents with an ellipsis or a new axis is not read", FIXED)
    vector, *limits = operands
    (begin,), (end,), (step,) = (list(map(int, limit)) for limit in limits)
    if node.option("ShrinkAxisMask"):
        return np.asarray(vector[begin])
    low = None if node.option("BeginMask") else begin
    return vector[low : None if node.option("EndMask") else end : step]


def _gathered(node: Operator, operands: Sequence[Array]) -> Array:
    return np.asarray(np.take(operands[0], operands[1], axis=node.option("Axis")))


def _packed(node: Operator, operands: Sequence[Array]) -> Array:
    return np.stack(operands, axis=node.option("Axis"))


def _joined(node: Operator, operands: Sequence[Array]) -> Array:
    return np.concatenate(operands, axis=node.option("Axis"))


def _product(node: Operator, operands: Sequence[Array]) -> Array:
    return np.asarray(operands[0].prod(axis=tuple(operands[1].reshape(-1)), keepdims=bool(node.option("KeepDims"))))


def _common(node: Operator, operands: Sequence[Array]) -> Array:
    shapes = [tuple(map(int, operand)) for operand in operands]
    return np.array(np.broadcast_shapes(*shapes), np.int64)


def _arithmetic(compute: Callable[[Array, Array], Array]) -> Evaluation:
    def evaluation(node: Operator, operands: Sequence[Array]) -> Array:
        left, right = operands
        return np.asarray(compute(left, right))

    return evaluation


EVALUATIONS: dict[str, Evaluation] = {
    "STRIDED_SLICE": _taken,
    "GATHER": _gathered,
    "PACK": _packed,
    "CONCATENATION": _joined,
    "REDUCE_PROD": _product,
    "BROADCAST_ARGS": _common,
    "ADD": _arithmetic(np.add),
    "SUB": _arithmetic(np.subtract),
    "MUL": _arithmetic(np.multiply),
}


def of_extents(operator: Operator, made: Tensor) -> bool:
    """Whether it may be an operator on extents, by its name and by what it makes."""
    integers = made.dtype in INTEGERS and not made.scale.size
    return operator.op == "SHAPE" or (operator.op in EVALUATIONS and integers)


def evaluated(operator: Operator, operands: Sequence[Tensor], made: Tensor) -> Array | None:
    """What such an operator makes; None where an operand is not known.

    Raises ArithmeticError, LookupError, ValueError or TypeError where options and operands do not go together,
    LowerError where furc does not read them.
    """
    if operator.op == "SHAPE":
        return np.array(operands[0].shape, made.dtype)
    values: list[Int64] = []
    for operand in operands:
        if operand.data is None or operand.dtype not in INTEGERS:
            return None
        values.append(operand.data.astype(np.int64))
    result = EVALUATIONS[operator.op](operator, values)
    if math.prod(result.shape) and np.abs(result).max() > np.iinfo(made.dtype).max:
        raise OverflowError(f"an extent of {np.abs(result).max()}")
    return result.astype(made.dtype)
