"""Which DRAM tensors can be handed from writer to reader as arrays, over all steps of a run.

One can where every read of it finds what this run wrote under the same address, order and shape. A read that finds
something else (the same bytes under another shape, bytes of an earlier run, bytes of the file) is of bytes: so are
then all tensors that overlap what it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isa.enf.model import DramTensor, NpuStep
from isa.execute.lifetimes import operands_of
from isa.instructions import Instruction, LoadProgram
from isa.operands import DramRange, DramWindow, Range, Role, Space


@dataclass(frozen=True, slots=True)
class DramFlow:
    """overwrites: the tensors that can be arrays; for each, those of them that writing it ends.

    constant: bytes from address 0 that nothing writes while it runs."""

    overwrites: dict[DramWindow, tuple[DramWindow, ...]]
    constant: int


def whole_tensor(window: DramWindow) -> DramWindow:
    """The window that covers the tensor."""
    return replace(window, box=window.shape.box)


def at_the_edge(tensor: DramTensor) -> DramWindow:
    """What the host writes or reads of a step."""
    return DramWindow(tensor.address, tensor.order, tensor.shape, tensor.shape.box)


def dram_flow(steps: Iterable[tuple[NpuStep, Sequence[Instruction]]]) -> DramFlow:
    """Follow what the host and the programs write and read, from the start of a run to its end."""
    written = dict[DramWindow, NDArray[np.bool_]]()  # which elements [n, c, h] of a tensor, since another was written
    ended, of_bytes = dict[DramWindow, set[DramWindow]](), set[Range]()
    for what, writes in _accesses(steps):
        if isinstance(what, DramRange):
            of_bytes.add(_bytes(what))
            continue
        tensor = whole_tensor(what)
        if writes:
            over = [t for t in written if t != tensor and _bytes(t).overlaps(_bytes(tensor))]
            for other in over:
                del written[other]
            ended.setdefault(tensor, set()).update(over)
            written.setdefault(tensor, np.zeros(tensor.shape[:3], np.bool_))[what.box.spans] = True
        elif tensor not in written or not written[tensor][what.box.spans].all():
            of_bytes.add(_bytes(tensor))
    arrays = {t for t in ended if not any(span.overlaps(_bytes(t)) for span in of_bytes)}
    overwrites = {tensor: tuple(ended[tensor] & arrays) for tensor in ended if tensor in arrays}
    return DramFlow(overwrites, min((tensor.address for tensor in ended), default=0))


def _accesses(steps: Iterable[tuple[NpuStep, Sequence[Instruction]]]) -> Iterator[tuple[DramWindow | DramRange, bool]]:
    """What is touched in DRAM, in order, and whether it is written."""
    for step, program in steps:
        yield from ((at_the_edge(tensor), True) for tensor in step.inputs)
        for instruction in program:
            if isinstance(instruction, LoadProgram):  # was fetched from the file
                continue
            for operand, value in operands_of(instruction):
                if isinstance(value, DramWindow | DramRange):
                    yield value, operand.role is not Role.READ
        yield from ((at_the_edge(tensor), False) for tensor in step.outputs)


def _bytes(what: DramWindow | DramRange) -> Range:
    return Range(Space.DRAM, what.address, what.address + what.bytes)
