"""A .tflite file as plain records: everything that is read from it is read here, and checked.

The flatbuffers accessors trust the file: a damaged one sends them anywhere. So every length is held against the size of
the file, and whatever an accessor raises becomes a SourceError.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from furc.onnx.soundness import LARGEST
from furc.tflite.mark import IDENTIFIER, is_tflite
from isa.errors import FurcError, Loc, LowerError, SourceError, counted, first_line

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

LONGEST_NAME = 1000  # bytes; names are there to be read
MOST_OPERANDS = 1000  # of one operator
MOST_AXES = 8
EXPORT = "convert the model again; the LiteRT interpreter may say more"
FIXED = "convert the model with inputs of fixed shape"
CUT = "cut the model before this operator, or replace it"
_BROKEN = (
    struct.error, LookupError, ValueError, TypeError, ArithmeticError, AttributeError, MemoryError, RecursionError,
)  # fmt: skip


def _names(enumeration: object) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


OPERATORS = _names(tflite.BuiltinOperator)
OPTIONS = _names(tflite.BuiltinOptions)
ELEMENTS = {
    number: np.dtype(name.lower())
    for number, name in _names(tflite.TensorType).items()
    if name in ("FLOAT32", "FLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL")
}
ELEMENT_NAMES = _names(tflite.TensorType)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """scale, zero: empty where the tensor is not quantized, one, or one for each index of axis. data: of a constant.

    open: the axes whose extents the file leaves open, a batch for example; shape has 1 there until they are found.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: Float32
    zero: Int64
    axis: int
    data: Array | None
    open: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def quantized(self) -> bool:
        """Of 8 bits, with a scale."""
        return self.scale.size > 0 and self.dtype in (np.dtype(np.int8), np.dtype(np.uint8))

    @property
    def real(self) -> Array:
        """The values of a constant; of a quantized one, those it stands for."""
        assert self.data is not None
        if not self.scale.size or self.dtype.kind == "f":
            return self.data.astype(np.float32) if self.dtype == np.float16 else self.data
        shape = [1] * self.rank
        if self.scale.size > 1:
            shape[self.axis] = -1
        centred = self.data.astype(np.int64) - self.zero.reshape(shape if self.zero.size > 1 else [1] * self.rank)
        result: Array = (centred.astype(np.float32) * self.scale.reshape(shape)).reshape(self.shape)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of a convolution that the file writes over blocks of the image: rows, then columns; pads before, then after."""

    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator, its number in the file, its tensors by number (-1 where one is left out)."""

    op: str
    index: int
    label: str  # of the tensor it makes
    source: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any  # the accessor of its options, None where it has none
    spread: Spread | None = None  # takes the place of dilation and padding in the options

    @property
    def name(self) -> str:
        """As messages and profiles call it."""
        return f"{self.op} {self.index} {self.label}"

    @property
    def loc(self) -> Loc:
        return Loc(self.source, (self.name,))

    def has_input(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] >= 0

    def option(self, name: str, default: int = 0) -> int:
        """A number among the options, by the schema's name in CamelCase."""
        return default if self.options is None else int(getattr(self.options, name)())

    def fraction(self, name: str, default: float) -> float:
        return default if self.options is None else float(getattr(self.options, name)())

    def invalid(self, message: str) -> SourceError:
        """What the operator says contradicts itself or its tensors."""
        return SourceError("InvalidGraph", f"{self.op}: {message}", at=self.loc, hint=EXPORT)

    def unsupported(self, message: str, hint: str = CUT) -> LowerError:
        return LowerError("UnsupportedOperator", message, at=self.loc, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The first subgraph of a file. inputs, outputs: tensors by number."""

    name: str
    source: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(data: bytes, source: str) -> Model:
    """Raises SourceError NotTflite, LowerError UnsupportedOperator for element types the NPU has nothing for."""
    if not is_tflite(data):
        raise _broken(source, f"{counted(len(data), 'byte')} without the mark {IDENTIFIER.decode()}")
    try:
        return _Reader(data, source).model()
    except FurcError:
        raise
    except _BROKEN as error:
        raise _broken(source, f"an offset in it leads nowhere ({first_line(error)})") from error


def _broken(source: str, why: str) -> SourceError:
    return SourceError("NotTflite", f"not a TFLite model, or a damaged one: {why}", at=Loc(source), hint=EXPORT)


class _Reader:
    """The walk through one file."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self.source = data, source
        self.file = tflite.Model.GetRootAsModel(data, 0)

    def model(self) -> Model:
        self.count("subgraphs", self.file.SubgraphsLength())
        if self.file.SubgraphsLength() < 1:
            raise self.broken("it has no subgraph")
        graph = self.file.Subgraphs(0)
        tensors = tuple(
            self.tensor(graph.Tensors(i), i) for i in range(self.count("tensors", graph.TensorsLength()))
        )  # fmt: skip
        inputs = self.numbers(graph.InputsLength(), graph.Inputs, len(tensors))
        outputs = self.numbers(graph.OutputsLength(), graph.Outputs, len(tensors))
        operators = tuple(
            self.operator(graph.Operators(i), i, tensors)
            for i in range(self.count("operators", graph.OperatorsLength()))
        )
        if min((*inputs, *outputs), default=0) < 0 or not inputs or not outputs:
            raise self.broken(f"its inputs are {list(inputs)}, its outputs {list(outputs)}")
        return Model(
            name=self.text(graph.Name()), source=self.source, tensors=tensors, operators=operators, inputs=inputs,
            outputs=outputs,
        )  # fmt: skip

    def tensor(self, tensor: Any, index: int) -> Tensor:
        name = self.text(tensor.Name()) or f"tensor {index}"
        at = Loc(self.source, detail=f"tensor '{name}'")
        if tensor.Type() not in ELEMENTS:
            kind = ELEMENT_NAMES.get(tensor.Type(), str(tensor.Type()))
            message = f"its elements are {kind}, furc reads {', '.join(str(e) for e in ELEMENTS.values())}"
            raise LowerError("UnsupportedType", message, at=at, hint="convert the model to int8 or float32")
        rank = tensor.ShapeLength()
        if rank > MOST_AXES:
            raise self.broken(f"tensor '{name}' has {rank} axes")
        shape = tuple(int(tensor.Shape(i)) for i in range(rank))
        if min(shape, default=1) < 0 or math.prod(shape) > LARGEST:
            raise self.broken(f"tensor '{name}' is {list(shape)}")
        dtype = ELEMENTS[tensor.Type()]
        scale, zero, axis = self.quantization(tensor, name, shape)
        return Tensor(
            name=name, shape=shape, dtype=dtype, scale=scale, zero=zero, axis=axis,
            data=self.content(tensor, name, shape, dtype), open=self.open_axes(tensor, rank),
        )  # fmt: skip

    def open_axes(self, tensor: Any, rank: int) -> tuple[int, ...]:
        signature = [int(tensor.ShapeSignature(i)) for i in range(min(tensor.ShapeSignatureLength(), rank))]
        return tuple(axis for axis, extent in enumerate(signature) if extent == -1)

    def quantization(self, tensor: Any, name: str, shape: tuple[int, ...]) -> tuple[Float32, Int64, int]:
        found = tensor.Quantization()
        if found is None or found.ScaleLength() == 0:
            return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        count, axis = self.count("scales", found.ScaleLength()), found.QuantizedDimension()
        scale = np.array(found.ScaleAsNumpy(), np.float32)
        zeros = found.ZeroPointLength()
        zero = np.array(found.ZeroPointAsNumpy(), np.int64) if zeros else np.zeros(count, np.int64)
        fits = count == 1 or (0 <= axis < len(shape) and shape[axis] == count)
        if not fits or zero.size not in (1, count) or not np.all(np.isfinite(scale)) or np.any(scale < 0):
            grids = f"{counted(count, 'scale')} and {counted(zeros, 'zero point')}"
            raise self.broken(f"tensor '{name}' {list(shape)} has {grids}, axis {axis}")
        if np.any(zero < -128) or np.any(zero > 255):  # of 8 bits; wider elements have zero points of 0
            raise self.broken(f"tensor '{name}' has zero point {int(zero[np.argmax(np.abs(zero))])}")
        return scale, np.broadcast_to(zero, (count,)), axis

    def content(self, tensor: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """What a constant holds. Buffer 0 is empty: it stands for tensors that are computed."""
        number = tensor.Buffer()
        if not 0 <= number < self.count("buffers", self.file.BuffersLength()):
            raise self.broken(f"tensor '{name}' is in buffer {number} of {self.file.BuffersLength()}")
        buffer = self.file.Buffers(number)
        size, beside = buffer.DataLength(), getattr(buffer, "Size", int)()
        wanted = math.prod(shape) * dtype.itemsize
        if not size and beside > 1:  # files above 2 GB keep their data behind the flatbuffer
            raw = self.data[buffer.Offset() : buffer.Offset() + beside]
        elif not size:
            return None if wanted else np.zeros(shape, dtype)
        else:
            raw = buffer.DataAsNumpy().tobytes() if size == wanted else b""
        if len(raw) != wanted:
            raise self.broken(f"constant '{name}' {list(shape)} of {dtype} has {size or beside} bytes, not {wanted}")
        return np.frombuffer(raw, dtype).reshape(shape)

    def operator(self, operator: Any, index: int, tensors: Sequence[Tensor]) -> Operator:
        inputs = self.numbers(operator.InputsLength(), operator.Inputs, len(tensors))
        outputs = self.numbers(operator.OutputsLength(), operator.Outputs, len(tensors))
        if not outputs or min(outputs) < 0:
            raise self.broken(f"operator {index} makes {list(outputs)}")
        code_number = operator.OpcodeIndex()
        if not 0 <= code_number < self.count("operator codes", self.file.OperatorCodesLength()):
            raise self.broken(f"operator {index} has code {code_number} of {self.file.OperatorCodesLength()}")
        code = self.file.OperatorCodes(code_number)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the old field has a byte only
        op = OPERATORS.get(number, f"operator {number}")
        if op == "CUSTOM":
            op = self.text(code.CustomCode()) or op
        table, kind = operator.BuiltinOptions(), OPTIONS.get(operator.BuiltinOptionsType(), "NONE")
        options = None
        if table is not None and kind != "NONE":
            options = getattr(tflite, kind)()
            options.Init(table.Bytes, table.Pos)
        return Operator(
            op=op, index=index, label=tensors[outputs[0]].name, source=self.source, inputs=inputs, outputs=outputs,
            options=options,
        )  # fmt: skip

    def numbers(self, length: int, of: Callable[[int], int], tensors: int) -> tuple[int, ...]:
        """Tensors by number; -1 for one that is left out."""
        if length > MOST_OPERANDS:
            raise self.broken(f"{length} tensors in one list")
        found = tuple(int(of(i)) for i in range(length))
        if any(not -1 <= number < tensors for number in found):
            raise self.broken(f"it speaks of tensors {list(found)[:8]}, there are {tensors}")
        return found

    def count(self, what: str, length: int) -> int:
        """A length that the file can hold, an entry being four bytes at least."""
        if not 0 <= length <= len(self.data) // 4:
            raise self.broken(f"{length} {what} in {len(self.data)} bytes")
        return length

    def text(self, raw: bytes | None) -> str:
        return (raw or b"")[:LONGEST_NAME].decode("utf-8", "replace")

    def broken(self, why: str) -> SourceError:
        return _broken(self.source, why)
