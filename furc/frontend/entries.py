"""What the importer knows of an ONNX tensor: each name of the model maps to one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from furc.frontend.tables import Step
from isa.errors import Loc
from isa.execute import numerics
from passes.ir.attributes import Clamp
from passes.ir.op import Array, Op, Value
from passes.ir.types import DType, Quant

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """Known now."""

    array: Array

    @property
    def shape(self) -> Shape:
        return tuple(self.array.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedConstant:
    """DequantizeLinear of known integers. scale, zero: one, or one for each index of axis."""

    name: str
    stored: Array
    scale: NDArray[np.float32]
    zero: NDArray[np.int64]
    axis: int | None

    @property
    def shape(self) -> Shape:
        return tuple(self.stored.shape)

    @property
    def array(self) -> NDArray[np.float32]:
        """The real values."""
        shape = [1] * self.stored.ndim  # of scale and zero, to broadcast
        if self.axis is not None:
            shape[self.axis] = -1
        centred = self.stored.astype(np.int64) - self.zero.reshape(shape)
        result: NDArray[np.float32] = centred.astype(np.float32) * self.scale.reshape(shape)
        return result.reshape(self.stored.shape)

    def signed(self) -> tuple[Array, NDArray[np.int64]]:
        """What is stored and its zero points, in int8 where it is uint8: both 128 less."""
        if self.stored.dtype != np.uint8:
            return self.stored, self.zero
        return (self.stored ^ np.uint8(0x80)).view(np.int8), self.zero - 128


@dataclass(frozen=True, slots=True)
class Quantized:
    """The float tensor whose int8 form is a value of the graph."""

    value: Value

    @property
    def shape(self) -> Shape:
        return self.value.type.shape


@dataclass(frozen=True, slots=True)
class Stored:
    """An integer tensor of the model: int8, or uint8 that furc keeps as int8 with 128 subtracted."""

    value: Value
    unsigned: bool

    @property
    def shape(self) -> Shape:
        return self.value.type.shape


@dataclass(frozen=True, slots=True)
class GraphInput:
    """A graph input nothing has read yet: float32, uint8 or int8. Its quantization comes from what reads it."""

    value: Value

    @property
    def shape(self) -> Shape:
        return self.value.type.shape


@dataclass(frozen=True, slots=True)
class OnHost:
    """A tensor that the host computes. told: whether element type and rank are known; else only the host reads it."""

    value: Value
    told: bool = True

    @property
    def shape(self) -> Shape:
        return self.value.type.shape

    @property
    def can_cross(self) -> bool:
        """The NPU could take it, quantized."""
        return self.told and self.value.type.dtype is DType.F32 and not self.value.type.is_open


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on real values: what Relu and Clip behind an operator have left."""

    lo: float = -np.inf
    hi: float = np.inf

    def then(self, lo: float, hi: float) -> Bounds:
        """The bounds after another min(max(x, lo), hi)."""
        return Bounds(min(max(self.lo, lo), hi), min(max(self.hi, lo), hi))

    def stored(self, quant: Quant) -> Clamp:
        """The bounds as int8. Exact: quantization keeps order, so it commutes with min and max."""
        lo, hi = numerics.quantize(np.array([self.lo, self.hi], np.float32), quant.s, quant.z)
        return Clamp(int(lo), int(hi))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The float result of an operator that requantizes; the QuantizeLinear after it completes the op.

    inner: the shape the op makes; shape: what the model sees, a reshape of it. laid, perm: where its axes are in
    another order, the shape they are taken apart to, and that order.
    """

    op: type[Op]
    fields: Mapping[str, object]
    inner: Shape
    shape: Shape
    loc: Loc
    bounds: Bounds = Bounds()
    laid: Shape = ()
    perm: tuple[int, ...] = ()

    def clamped(self, lo: float, hi: float, loc: Loc) -> Pending:
        return replace(self, bounds=self.bounds.then(lo, hi), loc=self.loc.merged(loc))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary:
    """A float function of one quantized tensor; the QuantizeLinear after it completes the table."""

    x: Value
    chain: tuple[Step, ...]
    loc: Loc

    @property
    def shape(self) -> Shape:
        return self.x.type.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A Concat of parts that do not share a quantization; the QuantizeLinear after it gives all of them its own."""

    parts: tuple[Entry, ...]
    axis: int
    shape: Shape
    loc: Loc


Entry = Constant | QuantizedConstant | Quantized | Stored | GraphInput | OnHost | Pending | Unary | Joined
