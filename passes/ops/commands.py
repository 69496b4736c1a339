"""Commands that move data between DRAM and SRAM, and buffers without content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isa import instructions as isa
from isa.instructions import Instruction
from isa.layout import Box, Place, Shape4, Window
from isa.machine import POISON
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow
from passes.ir.op import COMMANDS, Activation, Array, Constant, Level, Op, Read, Runs, Site, op
from passes.ir.types import InDram, InSram, Striped
from passes.ops.base import alike, leaves
from passes.ops.move import IntoBuffer, boxed


@op("alloc", levels=COMMANDS, runs=Runs.NOBODY)
@dataclass(eq=False, kw_only=True)
class Alloc(Op):
    """A buffer without content. Executed, it holds the poison of unwritten SRAM: reading too early shows."""

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.result.type.shape,)

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (np.full(self.result.type.shape, POISON, np.int8),)


@op("load", levels=COMMANDS, runs=Runs.DMA)
@dataclass(eq=False, kw_only=True)
class Load(Op):
    """DRAM to SRAM: a box of a DRAM tensor."""

    x: Activation
    box: Box

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(self.box.shape(self.x.type.shape[3])),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from alike((self.x,), self.result.type.quant)
        yield from leaves(self.x, self.box)
        if not isinstance(self.x.type.place, InDram) or not isinstance(self.result.type.place, InSram):
            yield "a load goes from DRAM to SRAM"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (boxed(read(self.x), self.box),)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        src = at.dram(self.x)
        outer = Window(Place(0, self.result.type.layout, src.shape), src.box)
        src = DramWindow(src.address, src.order, src.shape, outer.sub(self.box).box)
        yield isa.Load(src=src, dst=at.target(self))


@op("load_weights", levels=COMMANDS, runs=Runs.DMA)
@dataclass(eq=False, kw_only=True)
class LoadWeights(Op):
    """DRAM to SRAM, striped over all slices: packed weights or tables."""

    x: Constant

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.x.type.shape,)

    def rules(self, level: Level) -> Iterator[str]:
        if not isinstance(self.x.type.place, InDram) or not isinstance(self.result.type.place, Striped):
            yield "packed weights go from DRAM to stripes"
        if self.x.type.rank != 1:
            yield f"packed weights have one axis, {self.x} has {self.x.type.rank}"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (read(self.x),)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        src = at.dram(self.x)
        yield isa.LoadWeights(src=DramRange(src.address, src.bytes), dst=at.striped(self.result))


@op("store", levels=COMMANDS, runs=Runs.DMA)
@dataclass(eq=False, kw_only=True)
class Store(IntoBuffer):
    """SRAM to DRAM, the whole tensor or a box of a buffer."""

    x: Activation

    def made(self) -> Shape4:
        return self.x.type.shape4

    def rules(self, level: Level) -> Iterator[str]:
        yield from alike((self.x,), self.result.type.quant)
        yield from super().rules(level)
        if not isinstance(self.x.type.place, InSram) or not isinstance(self.result.type.place, InDram):
            yield "a store goes from SRAM to DRAM"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return self.placed(read(self.x), read)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        yield isa.Store(src=at.window(self.x), dst=at.dram_target(self))
