"""Fast execution: the weight tiles of one convolution run as one ONNX Runtime QLinearConv; the rest as it is.

Tests hold every result equal to isa/execute/reference.py. Partial sums in SRAM are not written: nothing but the
tiles of the same convolution reads them. A convolution is grouped only where no instruction between its first and
last tile touches its input, its output or its weights; otherwise its tiles run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isa.execute.failure import CANNOT_RUN, cannot_run
from isa.execute.qlinear_conv import ConvKernel, is_exact
from isa.execute.reference import EFFECTS, tile_channels
from isa.instructions import Instruction, Unit
from isa.layout import Window
from isa.machine import Int8, Machine
from isa.operands import Range, Space, SramRange

_GEOMETRY = ("kh", "kw", "sh", "sw", "pt", "pl", "dh", "dw", "up", "groups", "zx", "zy", "lo", "hi", "lookup", "tbank")


@dataclass(eq=False, slots=True)
class ConvGroup:
    """All tiles of one convolution: (preload, conv) pairs in order, and the table it looks up."""

    tiles: list[tuple[Instruction, Instruction]] = field(default_factory=list)
    kernel: ConvKernel | None = None
    packed: Int8 | None = None

    @property
    def conv(self) -> Instruction:
        return self.tiles[0][1]

    def run(self, machine: Machine) -> None:
        """Compute the whole convolution, preparing the kernel anew where the weights have changed."""
        region, start, stop = self.region()
        packed = machine.striped(region)[start:stop]
        if self.packed is None or not np.array_equal(packed, self.packed):
            self.packed, self.kernel = packed, self._prepare(packed, start)
        assert self.kernel is not None
        result = self.kernel(machine.read(self.conv.window("x")))
        if self.conv.number("lookup"):
            result = np.take(machine.tables[self.conv.number("tbank")], result.view(np.uint8) ^ np.uint8(0x80))
        machine.write(self.conv.window("y"), result)

    def region(self) -> tuple[SramRange, int, int]:
        """The striped range of the weights, and the bytes of it that the tiles use."""
        first = self.tiles[0][0]
        ends = [p.number("start") + _tile_bytes(p) for p, _ in self.tiles]
        return first.sram_range("src"), first.number("start"), max(ends)

    def _prepare(self, packed: Int8, base: int) -> ConvKernel:
        """Weights, bias and multipliers in the order ONNX wants them, out of the packed tiles."""
        conv, y = self.conv, self.conv.window("y")
        cin = conv.window("x").shape.c // conv.number("groups")
        taps = conv.number("kh") * conv.number("kw")
        weights = np.zeros((y.shape.c, cin, taps), np.int8)
        pairs = np.zeros((y.shape.c, 8), np.int8)
        for preload, tile in self.tiles:
            at = preload.number("start") - base
            wbytes, groups = preload.number("wbytes"), preload.number("groups")
            data = packed[at : at + _tile_bytes(preload)].reshape(groups, -1)
            k0, kn, ocn = tile.number("k0"), tile.number("kn"), tile.number("ocn")
            for column, (rows, channels) in enumerate(tile_channels(tile)):
                weights[channels, k0 : k0 + kn] = data[column, :wbytes].reshape(ocn, kn, taps)[rows]
                if tile.number("last"):
                    pairs[channels] = data[column, wbytes:].reshape(ocn, 8)[rows]
        bias = np.ascontiguousarray(pairs[:, :4]).view(np.int32).reshape(-1)
        multiplier = np.ascontiguousarray(pairs[:, 4:]).view(np.float32).reshape(-1)
        return ConvKernel.prepare(conv, weights, bias, multiplier)


def _tile_bytes(preload: Instruction) -> int:
    return preload.number("groups") * (preload.number("wbytes") + preload.number("vbytes"))


Work = Instruction | ConvGroup


class Accelerated:
    """A program as work items, grouped once."""

    def __init__(self, program: Sequence[Instruction]) -> None:
        self.program = program
        self.work: list[Work] = group_convolutions(program) if is_exact() else list(program)

    def run(self, machine: Machine) -> None:
        """Execute every item in order. Raises RunError where one cannot run."""
        for item in self.work:
            try:
                if isinstance(item, ConvGroup):
                    item.run(machine)
                elif item.mnemonic in EFFECTS:
                    EFFECTS[item.mnemonic](machine, item)
            except CANNOT_RUN as error:
                culprit = item.conv if isinstance(item, ConvGroup) else item
                index = next(i for i, instruction in enumerate(self.program) if instruction is culprit)
                raise cannot_run(index, culprit, error) from error


def group_convolutions(program: Sequence[Instruction]) -> list[Work]:
    """Replace complete, undisturbed runs of tiles by groups; a group stands where its last tile stood."""
    preloads: dict[int, Instruction] = {}
    open_groups: list[tuple[ConvGroup, list[int]]] = []
    for index, insn in enumerate(program):
        if insn.mnemonic == "preload":
            preloads[insn.number("bank")] = insn
        elif insn.mnemonic == "conv":
            pair = (preloads[insn.number("bank")], insn)
            if open_groups and _same_convolution(open_groups[-1][0].tiles[-1], pair):
                open_groups[-1][0].tiles.append(pair)
                open_groups[-1][1].append(index)
            else:
                open_groups.append((ConvGroup([pair]), [index]))
    last_at = {}
    swallowed: set[int] = set()
    for group, indices in open_groups:
        if _complete(group) and _undisturbed(group, indices, program):
            last_at[indices[-1]] = group
            swallowed.update(indices)
    unneeded = {id(preload) for group in last_at.values() for preload, _ in group.tiles}
    work: list[Work] = []
    for index, insn in enumerate(program):
        if index in last_at:
            work.append(last_at[index])
        elif index not in swallowed and id(insn) not in unneeded:
            work.append(insn)
    return work


def _same_convolution(a: tuple[Instruction, Instruction], b: tuple[Instruction, Instruction]) -> bool:
    (preload_a, conv_a), (preload_b, conv_b) = a, b
    return (
        conv_a.window("x") == conv_b.window("x")
        and conv_a.window("y") == conv_b.window("y")
        and preload_a.sram_range("src") == preload_b.sram_range("src")
        and all(conv_a.number(name) == conv_b.number(name) for name in _GEOMETRY)
        and not (conv_b.number("oc0") == 0 and conv_b.number("first"))
    )


def _complete(group: ConvGroup) -> bool:
    """Every channel of every slice column, and the whole contraction."""
    y = group.conv.window("y")
    made = {
        channel for _, conv in group.tiles if conv.number("last") for _, cs in tile_channels(conv) for channel in cs
    }
    k = group.conv.window("x").shape.c // group.conv.number("groups")
    covered: dict[int, int] = {}
    for _, conv in group.tiles:
        covered[conv.number("oc0")] = covered.get(conv.number("oc0"), 0) + conv.number("kn")
    _, start, stop = group.region()
    # Tiles of a hostile file may overlap in memory: gathered, they would take much more than the file has.
    taps = group.conv.number("kh") * group.conv.number("kw")
    fits = y.shape.c * k * taps <= stop - start
    return fits and len(made) == y.shape.c and all(total == k for total in covered.values())


def _undisturbed(group: ConvGroup, indices: list[int], program: Sequence[Instruction]) -> bool:
    inside = set(indices)
    mine = [_sram(group.conv.window("x")), _sram(group.conv.window("y"))]
    weights = group.tiles[0][0].sram_range("src")
    mine.append(Range(Space.SRAM, weights.offset, weights.offset + weights.bytes_per_slice))
    for index in range(indices[0], indices[-1]):
        insn = program[index]
        if index in inside or insn.unit is Unit.CONTROL:
            continue
        if any(w.overlaps(r) for w in insn.writes(8) for r in mine):
            return False
        if any(r.overlaps(mine[1]) for r in insn.reads(8)):
            return False
        if (
            insn.mnemonic == "loadt"
            and group.conv.number("lookup")
            and insn.number("bank") == group.conv.number("tbank")
        ):
            return False
    return True


def _sram(window: Window) -> Range:
    place = window.place
    return Range(Space.SRAM, place.offset, place.offset + place.layout.bytes_per_slice(place.shape, 8))
