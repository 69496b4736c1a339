"""Copies between DRAM and the machine, by the DMA engine."""

from __future__ import annotations

from isa.instructions.base import NO_SRAM, Instruction, Unit, instruction, program_offset, read, write
from isa.layout import Window
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, Role, SramRange
from isa.timing.formulas import Cost, transfer_cycles, window_cycles


@instruction("load", 0x10, Unit.DMA_IN)
class Load(Instruction):
    """Copy a box of a DRAM tensor into a box of an SRAM tensor, spreading it over the slices."""

    src: DramWindow = read("what to read")
    dst: Window = write("where to; the same extents as src")

    def execute(self, machine: Machine) -> None:
        machine.write(self.dst, machine.read_dram(self.src))

    def cost(self, npu: NpuConfig) -> Cost:
        return window_cycles(self.src, npu)


@instruction("loadw", 0x11, Unit.DMA_IN)
class LoadWeights(Instruction):
    """Copy consecutive bytes into a range striped over all slices."""

    src: DramRange = read("packed weight tiles")
    dst: SramRange = write("striped: slice s gets bytes [s*P, (s+1)*P), P = dst.bytes", default=NO_SRAM)

    def execute(self, machine: Machine) -> None:
        machine.write_striped(self.dst, machine.read_dram_bytes(self.src))

    def cost(self, npu: NpuConfig) -> Cost:
        return transfer_cycles(self.src.bytes, self.src.bytes, npu)


@instruction("loadp", 0x12, Unit.DMA_IN)
class LoadProgram(Instruction):
    """Load a program segment into instruction memory."""

    src: DramRange = read("encoded instructions")
    at: int = program_offset(Role.WRITE, "byte offset in instruction memory")

    def execute(self, machine: Machine) -> None:
        pass  # what is fetched changes, and that is the interpreter's

    def cost(self, npu: NpuConfig) -> Cost:
        return transfer_cycles(self.src.bytes, self.src.bytes, npu)


@instruction("store", 0x18, Unit.DMA_OUT)
class Store(Instruction):
    """Copy a box of an SRAM tensor into a box of a DRAM tensor."""

    src: Window = read("what to read")
    dst: DramWindow = write("where to; the same extents as src")

    def execute(self, machine: Machine) -> None:
        machine.write_dram(self.dst, machine.read(self.src))

    def cost(self, npu: NpuConfig) -> Cost:
        return window_cycles(self.dst, npu)
