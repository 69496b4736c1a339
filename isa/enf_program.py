"""Does a decoded program stay inside its machine? What bit fields can say and a machine cannot do.

Checked once when a program is fetched, so that executing and timing it need not expect nonsense from a hostile file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isa.enf_container import COMPILE_AGAIN
from isa.errors import EnfError, Loc
from isa.instructions import Instruction
from isa.layout import Box, Shape4, Window
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, OperandValue, Role, Space, SramRange

MAX_REACHED = 1 << 28  # elements of a padded input: sixteen times the SRAM
MAX_POOL_STEPS = 1 << 34


def check_program(program: Sequence[Instruction], npu: NpuConfig, dram_bytes: int, at: Loc) -> None:
    """Raises EnfError BadProgram with the instruction, the operand and what is wrong with it."""
    filled: set[int] = set()  # weight banks
    for index, instruction in enumerate(program):
        for operand, value in zip(instruction.spec.operands, instruction.values, strict=True):
            wrong = next(_wrong(value, npu, dram_bytes), None)
            for touched in operand.touches(value, npu.sram_access_bytes):
                if touched.space is Space.WEIGHTS and operand.role is Role.READ and touched.start not in filled:
                    wrong = f"weight bank {touched.start} is empty"
                if touched.space is Space.WEIGHTS and operand.role is Role.WRITE:
                    filled.add(touched.start)
            if wrong is not None:
                what = f"instruction {index}, {instruction.mnemonic}.{operand.name}: {wrong}"
                raise EnfError("BadProgram", what, at=at, hint=COMPILE_AGAIN)
        if any(operand.name == "kh" for operand in instruction.spec.operands):
            wrong = next(_endless(instruction), None)
            if wrong is not None:
                what = f"instruction {index}, {instruction.mnemonic}: {wrong}"
                raise EnfError("BadProgram", what, at=at, hint=COMPILE_AGAIN)


def _endless(sliding: Instruction) -> Iterator[str]:
    """Kernels that fields can say and no network has: executing them would take all memory, or hours."""
    x, y, number = sliding.window("x").shape, sliding.window("y").shape, sliding.number
    rows, columns = (
        (extent - 1) * number(f"s{axis}") + (number(f"k{axis}") - 1) * number(f"d{axis}") + 1
        for axis, extent in (("h", y.h), ("w", y.w))
    )
    reached = x.n * x.c * rows * columns
    if reached > MAX_REACHED:
        yield f"the kernel reaches over {rows} x {columns} elements of {x.n * x.c} planes"
    steps = y.elements * number("kh") * number("kw")
    if sliding.mnemonic != "conv" and steps > MAX_POOL_STEPS:
        yield f"{steps} steps"


def _wrong(value: OperandValue, npu: NpuConfig, dram_bytes: int) -> Iterator[str]:
    match value:
        case Window(place, box):
            yield from _misshapen(place.shape, box)
            if place.layout.slices > npu.num_slices:
                yield f"{place.layout} takes {place.layout.slices} slices of {npu.num_slices}"
            stop = place.offset + place.layout.bytes_per_slice(place.shape, npu.sram_access_bytes)
            if stop > npu.sram_bytes_per_slice:
                yield f"bytes 0x{place.offset:x}..0x{stop:x} of a slice of 0x{npu.sram_bytes_per_slice:x}"
        case DramWindow(address, _, shape, box):
            yield from _misshapen(shape, box)
            if address + shape.elements > dram_bytes:
                yield f"bytes 0x{address:x}..0x{address + shape.elements:x} of 0x{dram_bytes:x} of DRAM"
        case SramRange(offset, size):
            if offset + size > npu.sram_bytes_per_slice:
                yield f"bytes 0x{offset:x}..0x{offset + size:x} of a slice of 0x{npu.sram_bytes_per_slice:x}"
        case DramRange(address, size):
            if address + size > dram_bytes:
                yield f"bytes 0x{address:x}..0x{address + size:x} of 0x{dram_bytes:x} of DRAM"


def _misshapen(shape: Shape4, box: Box) -> Iterator[str]:
    spans = (("n", box.n0, box.n, shape.n), ("c", box.c0, box.c, shape.c), ("h", box.h0, box.h, shape.h))
    for axis, start, count, extent in spans:
        if count < 1 or start + count > extent:
            yield f"{axis}{start}+{count} is not in 0..{extent}"
    if shape.w < 1:
        yield f"a width of {shape.w}"
