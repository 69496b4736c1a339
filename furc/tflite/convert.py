"""A TFLite model as an ONNX model of the same operators: float stays float, 8 bits become QDQ form.

So everything behind the frontend, from `furc quantize` to the host's segments, knows one kind of model.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import onnx

from furc.tflite import convolution, elementwise, movement, pooling, product
from furc.tflite.dilated import BLOCKS, HINT, spread
from furc.tflite.extents import evaluated, of_extents
from furc.tflite.model import CUT, EXPORT, FIXED, Model, Operator, read
from furc.tflite.orders import images
from furc.tflite.registry import HANDLERS
from furc.tflite.writer import Writer
from isa.errors import FurcError, Loc, LowerError, SourceError, first_line

FAMILIES = (convolution, elementwise, movement, pooling, product)  # importing them fills the registry
_CONTRADICTIONS = (ArithmeticError, LookupError, ValueError, TypeError, AttributeError, MemoryError, struct.error)


def to_onnx(data: bytes, source: str = "") -> onnx.ModelProto:
    """Nodes are named by operator, its number in the file, and the tensor it makes.

    Raises SourceError NotTflite, InvalidGraph; LowerError UnsupportedOperator, UnsupportedType, UnquantizedTensor.
    """
    writer = converted(data, source)
    try:
        return writer.proto()
    except _CONTRADICTIONS as error:
        message = f"its outputs do not go together with what makes them ({first_line(error)})"
        raise SourceError("InvalidGraph", message, at=Loc(source), hint=EXPORT) from error


def converted(data: bytes, source: str = "") -> Writer:
    """The model as ONNX, and what became of each of its tensors."""
    model = _folded(read(data, source))
    try:
        model = spread(model)
    except _CONTRADICTIONS as error:
        message = f"operators and tensors do not go together ({first_line(error)})"
        raise SourceError("InvalidGraph", message, at=Loc(source), hint=EXPORT) from error
    _check_known(model)
    writer = Writer(model, images(model))
    for operator in model.operators:
        try:
            writer.begin(operator)
            if not _known(writer, operator):
                HANDLERS[operator.op](writer, operator)
        except FurcError:
            raise
        except _CONTRADICTIONS as error:
            raise operator.invalid(f"options and tensors do not go together ({first_line(error)})") from error
    return writer


def _known(writer: Writer, operator: Operator) -> bool:
    """Whether it is an operator on extents, which are then known instead of computed."""
    made = writer.tensor(operator.outputs[0])
    if not of_extents(operator, made):
        return False
    values = evaluated(operator, [writer.tensor(number) for number in operator.inputs], made)
    if values is not None:
        writer.know(operator.outputs[0], values)
    elif operator.op not in HANDLERS:
        raise operator.unsupported(f"{operator.op} computes integers from values, the NPU computes in int8", FIXED)
    return values is not None


def _folded(model: Model) -> Model:
    """Weights kept as float16 or int8 in a float model stand behind a DEQUANTIZE: as the constants they are."""
    tensors, kept = list(model.tensors), []
    for operator in model.operators:
        x = tensors[operator.inputs[0]] if operator.has_input(0) else None
        y = tensors[operator.outputs[0]]
        known = x is not None and x.data is not None and x.shape == y.shape and y.dtype == np.float32
        if operator.op == "DEQUANTIZE" and x is not None and known and y.data is None:
            tensors[operator.outputs[0]] = replace(y, data=x.real.astype(np.float32))
        else:
            kept.append(operator)
    return replace(model, tensors=tuple(tensors), operators=tuple(kept))


def _check_known(model: Model) -> None:
    """Raise for all operators without a converter at once."""
    unknown = [
        operator for operator in model.operators
        if operator.op not in HANDLERS and not of_extents(operator, model.tensors[operator.outputs[0]])
    ]  # fmt: skip
    if not unknown:
        return
    first, *others = unknown
    hint = HINT if first.op in BLOCKS else CUT
    raise LowerError(
        "UnsupportedOperator", f"{first.op} has no counterpart among the operators that furc reads", at=first.loc,
        hint=hint, also=tuple(f"the same holds for '{other.name}'" for other in others[:20]),
    )  # fmt: skip
