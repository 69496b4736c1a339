"""What operators of several families share: rules as sentences, boxes, and the shape of a broadcast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isa.errors import counted
from isa.execute.numerics import INT8_HIGH, INT8_LOW
from isa.layout import Box
from passes.ir.op import Value
from passes.ir.types import DType, Quant

DATA_AXES = 4
IMAGES, CHANNELS, ROWS = range(3)  # those of a box


def int8(**values: Value | None) -> Iterator[str]:
    """Rule: these are int8."""
    for name, value in values.items():
        if value is not None and value.type.dtype is not DType.I8:
            yield f"{name} is {value.type.dtype}, expected i8"


def quantized(**values: Value) -> Iterator[str]:
    """Rule: these have one scale and zero point."""
    for name, value in values.items():
        if value.type.quant is None or not value.type.quant.per_tensor:
            yield f"{name} has no scale and zero point of its own"


def four_axes(**values: Value) -> Iterator[str]:
    """Rule: these have the axes n, c, h, w."""
    for name, value in values.items():
        if value.type.rank != DATA_AXES:
            yield f"{name} has {counted(value.type.rank, 'axis', 'axes')}, expected {DATA_AXES}"


def alike(values: Iterable[Value], quant: Quant | None) -> Iterator[str]:
    """Rule: elements are moved, not computed: all share one quantization."""
    if any(value.type.quant != quant for value in values):
        yield "operands and result differ in quantization"


def table_rule(name: str, table: Value | None) -> Iterator[str]:
    """Rule: a table has an int8 entry for each int8 value."""
    if table is not None and (table.type.shape != (256,) or table.type.dtype is not DType.I8):
        yield f"{name} is {table.type.dtype}{list(table.type.shape)}, expected i8[256]"


def within_int8(**numbers: int) -> Iterator[str]:
    """Rule: these are int8 values."""
    for name, number in numbers.items():
        if not INT8_LOW <= number <= INT8_HIGH:
            yield f"{name} {number} is outside {INT8_LOW}..{INT8_HIGH}"


def leaves(value: Value, box: Box) -> Iterator[str]:
    """Rule for boxes: inside the tensor."""
    shape = value.type.shape4
    spans = ((box.n0, box.n, shape.n), (box.c0, box.c, shape.c), (box.h0, box.h, shape.h))
    if any(start < 0 or count < 1 or start + count > extent for start, count, extent in spans):
        yield f"the box {list(box)} leaves {list(shape)}"


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of two operands that broadcast as in NumPy; -1 where two extents do not go together."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return tuple(max(x, y) if 1 in (x, y) or x == y else -1 for x, y in zip(left, right, strict=True))


def broadcast_box(value: Value, result: Value, piece: Box) -> Box:
    """What a piece of the result needs of an operand that is repeated along axes of extent 1."""
    shape, made = value.type.shape4, result.type.shape4
    box = shape.box
    if shape.n == made.n:
        box = box._replace(n0=piece.n0, n=piece.n)
    if shape.c == made.c:
        box = box._replace(c0=piece.c0, c=piece.c)
    if shape.h == made.h:
        box = box._replace(h0=piece.h0, h=piece.h)
    return box
