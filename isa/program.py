"""The programs of a compiled model: fetched and decoded, and checked against the machine.

Bit fields can say what a machine cannot do. That is found once, when a program is fetched, so that executing and
timing it need not expect nonsense from a hostile file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isa.encoding import WORD_BYTES, Decoder
from isa.enf.container import COMPILE_AGAIN
from isa.enf.model import Enf, NpuStep
from isa.errors import NOWHERE, EncodeError, EnfError, Loc
from isa.instructions import Conv, End, Instruction, Jump, LoadProgram, Sliding
from isa.layout import Box, Shape4, Window
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, OperandValue, Role, SramRange

MAX_REACHED = 1 << 28  # elements of a padded input: sixteen times the SRAM
MAX_POOL_STEPS = 1 << 34


def fetch(enf: Enf, npu: NpuConfig) -> list[list[Instruction]]:
    """For each NPU step its instructions, in the order the command processor meets them, up to `end`.

    Follows jumps through an instruction memory that `loadp` fills, so what runs is what was loaded. Raises EnfError
    BadProgram where a program leaves its memory, never ends, or asks for what the machine cannot do.
    """
    memory, filled = bytearray(npu.instruction_memory_bytes), frozenset[int]()
    programs = []
    for step in enf.npu_steps:  # the machine is the same one: it keeps what it holds
        program = _fetch(enf, step, memory)
        filled = check_program(program, npu, enf.dram_bytes, Loc(enf.model_name), filled)
        programs.append(program)
    return programs


def _fetch(enf: Enf, step: NpuStep, memory: bytearray) -> list[Instruction]:
    first = step.segments[0]
    _fill(memory, first.offset, enf.image[first.address : first.address + first.bytes])
    limit = sum(segment.bytes for segment in step.segments) // WORD_BYTES  # no instruction is shorter than a word
    at, executed, decoder = first.offset, list[Instruction](), Decoder()
    while len(executed) <= limit:
        try:
            instruction, at = decoder.instruction(memory, at)
        except EncodeError as error:
            what = f"byte {at} of instruction memory: {error.message}"
            raise _bad(what, Loc(enf.model_name)) from error
        executed.append(instruction)
        match instruction:
            case End():
                return executed
            case Jump(to=to):
                at = to
            case LoadProgram(src=src, at=offset):
                _fill(memory, offset, enf.image[src.address : src.address + src.bytes])
    raise _bad(f"no end after {limit} instructions", Loc(enf.model_name))


def check_program(
    program: Sequence[Instruction], npu: NpuConfig, dram_bytes: int, at: Loc, filled: frozenset[int] = frozenset()
) -> frozenset[int]:
    """Raises EnfError BadProgram with the instruction, the operand and what is wrong with it.

    filled: weight banks that hold something when the program starts; the result is those when it has ended.
    """
    banks, sound = set(filled), set[int]()  # sound: operands that were looked at, which instructions share
    for index, instruction in enumerate(program):
        for operand in instruction.places:
            value = getattr(instruction, operand.name)
            wrong = next(operand_rules(value, npu, dram_bytes), None) if id(value) not in sound else None
            if wrong is not None:
                raise _bad(f"instruction {index}, {instruction.mnemonic}.{operand.name}: {wrong}", at)
            sound.add(id(value))
        for operand in instruction.weight_banks:
            bank = getattr(instruction, operand.name)
            if operand.role is Role.WRITE:
                banks.add(bank)
            elif bank not in banks:
                what = f"weight bank {bank} is empty"
                raise _bad(f"instruction {index}, {instruction.mnemonic}.{operand.name}: {what}", at)
        for wrong in _endless(instruction) if isinstance(instruction, Sliding) else ():
            raise _bad(f"instruction {index}, {instruction.mnemonic}: {wrong}", at)
    return frozenset(banks)


def _bad(what: str, at: Loc) -> EnfError:
    return EnfError("BadProgram", what, at=at, hint=COMPILE_AGAIN)


def _endless(sliding: Sliding) -> Iterator[str]:
    """Kernels that fields can say and no network has: executing them would take all memory, or hours."""
    x, (rows, columns) = sliding.x.shape, sliding.reached
    if x.n * x.c * rows * columns > MAX_REACHED:
        yield f"the kernel reaches over {rows} x {columns} elements of {x.n * x.c} planes"
    steps = sliding.y.shape.elements * sliding.kh * sliding.kw
    if not isinstance(sliding, Conv) and steps > MAX_POOL_STEPS:
        yield f"{steps} steps"


def _fill(memory: bytearray, at: int, data: bytes) -> None:
    if at + len(data) > len(memory):
        raise _bad(f"a segment of {len(data)} B at {at} exceeds the instruction memory of {len(memory)} B", NOWHERE)
    memory[at : at + len(data)] = data


def operand_rules(value: OperandValue, npu: NpuConfig, dram_bytes: int) -> Iterator[str]:
    """What keeps an operand from lying where it says: the end of SRAM or DRAM, too few slices, a box that leaves its
    tensor. dram_bytes: that the program may touch."""
    match value:
        case Window(place, box):
            yield from _misshapen(place.shape, box)
            slices = place.layout.slices(place.shape.n)
            if slices > npu.num_slices:
                yield f"{place.layout} takes {slices} slices of {npu.num_slices}"
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
