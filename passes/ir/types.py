"""Types of IR values: shape, element type, quantization, and from ldfg on where the tensor lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from isa.enf.model import OPEN
from isa.layout import Layout, LayoutKind, Shape4
from isa.operands import MAX_EXTENT, MAX_IMAGES


class DType(StrEnum):
    """Element types."""

    I8 = "i8"
    U8 = "u8"
    I32 = "i32"
    I64 = "i64"
    F32 = "f32"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        return _NUMPY[self]


_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.I8: np.dtype(np.int8), DType.U8: np.dtype(np.uint8), DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64), DType.F32: np.dtype(np.float32), DType.BOOL: np.dtype(np.bool_),
}  # fmt: skip


def dtype_of(kind: np.dtype[np.generic]) -> DType | None:
    """The IR's name of a NumPy element type; None where it has none."""
    return next((d for d in DType if d.numpy == kind), None)


def float32(value: float) -> float:
    """The nearest float32, as a Python float: how every scale is kept."""
    return float(np.float32(value))


@dataclass(frozen=True, slots=True)
class Quant:
    """real = (stored - zero) * scale. One scale for the tensor, or one for each index of an axis."""

    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int | None = None

    @property
    def per_tensor(self) -> bool:
        return self.axis is None

    @property
    def s(self) -> float:
        """The scale of a per-tensor quantization."""
        assert len(self.scale) == 1
        return self.scale[0]

    @property
    def z(self) -> int:
        """The zero point of a per-tensor quantization."""
        assert len(self.zero) == 1
        return self.zero[0]


def per_tensor(scale: float, zero: int) -> Quant:
    """One scale and zero point for the whole tensor."""
    return Quant((float32(scale),), (int(zero),))


@dataclass(frozen=True, slots=True)
class InSram:
    """A tensor on chip; the offset is known from gir on."""

    layout: Layout
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class InDram:
    """A tensor in DRAM, dense in the order of a layout kind; the address is known from gir on."""

    order: LayoutKind
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Striped:
    """Bytes striped over all slices: packed weights and tables; the offset is known from gir on."""

    offset: int | None = None


Place = InSram | InDram | Striped


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape, element type, quantization and place of a value."""

    shape: tuple[int, ...]
    dtype: DType
    quant: Quant | None = None
    place: Place | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        """How many there are; axes of open extent count as one."""
        return math.prod(1 if extent == OPEN else extent for extent in self.shape)

    @property
    def bytes(self) -> int:
        """What all elements take, dense."""
        return self.elements * self.dtype.numpy.itemsize

    @property
    def is_open(self) -> bool:
        """Some extent is known only when the host has run."""
        return OPEN in self.shape

    @property
    def q(self) -> Quant:
        """The quantization of a value that must have one."""
        assert self.quant is not None, "a value without quantization"
        return self.quant

    @property
    def shape4(self) -> Shape4:
        """The shape as the machine sees it: row-major order is kept, extra axes are folded into C."""
        return to_shape4(self.shape)

    @property
    def layout(self) -> Layout:
        """The layout of a value that lies in SRAM."""
        assert isinstance(self.place, InSram), "a value without layout"
        return self.place.layout

    def at(self, place: Place | None) -> TensorType:
        return TensorType(self.shape, self.dtype, self.quant, place)

    def shaped(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(shape, self.dtype, self.quant, self.place)


@lru_cache(maxsize=1 << 14)
def to_shape4(shape: tuple[int, ...]) -> Shape4:
    """[n], [n, c], [n, c, w] -> [n, c, 1, w], [n, c, h, w]; axes beyond four are folded into c.

    More images than the machine addresses become channels: what computes on images has other rules against that."""
    n, c, h, w = _shape4(shape)
    if n <= MAX_IMAGES:
        return Shape4(n, c, h, w)
    return Shape4(1, n * c, h, w) if n * c <= MAX_EXTENT else Shape4(1, n, c * h, w)


def _shape4(shape: tuple[int, ...]) -> Shape4:
    if len(shape) <= 2:
        n, c = (*shape, 1, 1)[:2]
        return Shape4(n, c, 1, 1)
    if len(shape) == 3:
        return Shape4(shape[0], shape[1], 1, shape[2])
    return Shape4(shape[0], math.prod(shape[1:-2]), shape[-2], shape[-1])
