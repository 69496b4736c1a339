"""What the host does: at the edges of the model, and between parts of it that the NPU runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from isa import ort
from isa.execute import numerics
from isa.npu import NpuConfig
from passes.ir.op import LOW, Activation, Array, Constant, Level, Lowering, Op, Read, Runs, Value, op
from passes.ir.types import DType
from passes.ops.base import quantized

ALL = (Level.DFG, *LOW)


@dataclass(eq=False, kw_only=True)
class Converts(Op):
    """One tensor under another element type. Below dfg the NPU's side has four axes, the user's side its own.

    perm: the operand's axes in the order of the result, as they are on the user's side; () for the same order."""

    x: Activation
    perm: tuple[int, ...] = ()

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        same = self.x.type.elements == self.result.type.elements
        return (self.result.type.shape if same else self.x.type.shape,)

    @property
    def feeds_npu(self) -> bool:
        """The result goes to DRAM, for the NPU."""
        return self.result.type.dtype is DType.I8

    def rules(self, level: Level) -> Iterator[str]:
        user = self.x if self.feeds_npu else self.result
        if self.perm and sorted(self.perm) != list(range(user.type.rank)):
            yield f"perm {list(self.perm)} is no order of {user.type.rank} axes"

    def unturned(self) -> tuple[int, ...]:
        """The shape that perm is applied to: the operand's, and where that is on the NPU the one the user would see."""
        if self.feeds_npu or not self.perm:
            return self.x.type.shape
        return tuple(self.result.type.shape[self.perm.index(axis)] for axis in range(len(self.perm)))

    def shaped(self, made: Array) -> tuple[Array, ...]:
        if self.perm:
            made = np.ascontiguousarray(made.reshape(self.unturned()).transpose(self.perm))
        return (made.reshape(self.result.type.shape),)

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        return self.perm.index(axes[self.x]) if self.perm else super().grown(axes, factor)

    def lower(self, low: Lowering) -> None:
        """The side of the NPU gets four axes, the side of the user keeps its own."""
        result = low.result(self.result) if self.feeds_npu else self.result
        low.emit(self.on(low.value, (result,)), self.result)


@op("quantize", levels=ALL, runs=Runs.HOST)
@dataclass(eq=False, kw_only=True)
class Quantize(Converts):
    """float32 to int8 with the result's scale and zero point."""

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        yield from quantized(result=self.result)
        if (self.x.type.dtype, self.result.type.dtype) != (DType.F32, DType.I8):
            yield f"{self.x.type.dtype} to {self.result.type.dtype}, expected f32 to i8"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        q = self.result.type.q
        with np.errstate(over="ignore"):  # a value far outside the range becomes infinite and saturates
            return self.shaped(numerics.quantize(read(self.x), q.s, q.z))


@op("dequantize", levels=ALL, runs=Runs.HOST)
@dataclass(eq=False, kw_only=True)
class Dequantize(Converts):
    """int8 to float32 with the operand's scale and zero point."""

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        yield from quantized(x=self.x)
        if (self.x.type.dtype, self.result.type.dtype) != (DType.I8, DType.F32):
            yield f"{self.x.type.dtype} to {self.result.type.dtype}, expected i8 to f32"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        q = self.x.type.q
        return self.shaped(numerics.dequantize(read(self.x), q.s, q.z))


@op("recast", levels=ALL, runs=Runs.HOST)
@dataclass(eq=False, kw_only=True)
class Recast(Converts):
    """uint8 to int8 or back by subtracting or adding 128; the zero point moves along."""

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        if {self.x.type.dtype, self.result.type.dtype} != {DType.I8, DType.U8}:
            yield f"{self.x.type.dtype} to {self.result.type.dtype}, expected i8 and u8"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        flipped: Array = read(self.x).view(np.uint8) ^ np.uint8(0x80)
        return self.shaped(flipped.view(self.result.type.dtype.numpy))


@dataclass(eq=False, kw_only=True)
class Relayout(Converts):
    """The same bytes in another order. Where the axes keep theirs, the runtime does it while it copies to and from
    DRAM."""

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        if (self.x.type.dtype, self.result.type.dtype) != (DType.I8, DType.I8):
            yield f"{self.x.type.dtype} to {self.result.type.dtype}, expected i8"
        if self.x.type.quant != self.result.type.quant:
            yield "operand and result differ in quantization"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return self.shaped(read(self.x))


@op("lower", levels=ALL, runs=Runs.HOST)
@dataclass(eq=False, kw_only=True)
class Lower(Relayout):
    """An int8 input of the model on four axes: the runtime re-lays it anyway."""


@op("unlower", levels=ALL, runs=Runs.HOST)
@dataclass(eq=False, kw_only=True)
class Unlower(Relayout):
    """An int8 output under the name and shape that the model gives it: the runtime re-lays it anyway."""

    @property
    def feeds_npu(self) -> bool:
        return False


@lru_cache(maxsize=8)
def _session(model: bytes) -> Callable[[list[Array]], list[Array]]:
    session = ort.session(model, integer_kernels=False)
    names = [tensor.name for tensor in session.get_inputs()]
    return lambda inputs: list(session.run(None, dict(zip(names, inputs, strict=True))))


@op("host_call", levels=ALL, runs=Runs.HOST)
@dataclass(eq=False, kw_only=True)
class HostCall(Op):
    """A part of the model that ONNX Runtime computes on the host, from values the host has. model: ONNX, as bytes.

    images: how often it runs, on consecutive parts of its inputs along axis 0; results are joined. reason, remedy:
    why it is not on the NPU, and what the user can do about it."""

    inputs: tuple[Activation, ...]
    model: Constant
    images: int = 1
    reason: str = ""
    remedy: str = ""

    open_extents = True

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(value.type.shape for value in self.results)

    def rules(self, level: Level) -> Iterator[str]:
        if self.model.type.dtype is not DType.U8 or self.model.type.rank != 1:
            yield f"the model is {self.model.type.dtype}{list(self.model.type.shape)}, expected bytes: u8[n]"
        if self.images < 1:
            yield f"runs {self.images} times"
        for value in (*self.inputs, *self.results):
            if self.images > 1 and (not value.type.shape or value.type.shape[0] % self.images):
                yield f"{value} {list(value.type.shape)} has no {self.images} images"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        model, inputs = read(self.model).tobytes(), [read(value) for value in self.inputs]
        made = run_images(_session(model), inputs, self.images)
        return tuple(
            array if value.type.is_open else array.reshape(value.type.shape)
            for array, value in zip(made, self.results, strict=True)
        )

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        """The model stays that of one image and runs more often."""
        if set(axes.values()) != {0} or len(axes) < len(dict.fromkeys(self.inputs)):
            return None
        if any(value.type.is_open or not value.type.shape for value in self.results):
            return None  # results of several images could not be told apart, or not be joined
        self.images *= factor
        return 0

    def lower(self, low: Lowering) -> None:
        low.emit(self.on(low.value, self.results), *self.results)


def run_images(run: Callable[[list[Array]], list[Array]], inputs: list[Array], images: int) -> list[Array]:
    """Run on consecutive parts along axis 0 and join the results."""
    if images == 1:
        return run(inputs)
    parts = zip(*(np.split(array, images) for array in inputs), strict=True)
    made = [run(list(part)) for part in parts]
    return [np.concatenate(results) for results in zip(*made, strict=True)]
