"""What each instruction does to the machine: a plain function an instruction, registered by mnemonic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from isa.errors import RunError
from isa.execute import numerics
from isa.execute.numerics import BinaryScales, Geometry, Int8, Int32
from isa.instructions import MOVE_AXES, Instruction
from isa.layout import Layout, LayoutKind, Place, Shape4, Window, whole
from isa.machine import Machine

Effect = Callable[[Machine, Instruction], None]


def load(machine: Machine, insn: Instruction) -> None:
    machine.write(insn.window("dst"), machine.read_dram(insn.dram_window("src")))


def loadw(machine: Machine, insn: Instruction) -> None:
    src = insn.dram_range("src")
    machine.write_striped(insn.sram_range("dst"), machine.dram[src.address : src.address + src.bytes])


def store(machine: Machine, insn: Instruction) -> None:
    machine.write_dram(insn.dram_window("dst"), machine.read(insn.window("src")))


def preload(machine: Machine, insn: Instruction) -> None:
    wbytes, vbytes, groups = insn.number("wbytes"), insn.number("vbytes"), insn.number("groups")
    start, bank = insn.number("start"), insn.number("bank")
    data = machine.striped(insn.sram_range("src"))[start : start + groups * (wbytes + vbytes)]
    tile = data.reshape(groups, wbytes + vbytes)
    machine.weights[bank], machine.vector[bank] = tile[:, :wbytes], tile[:, wbytes:]


def loadt(machine: Machine, insn: Instruction) -> None:
    start = insn.number("start")
    machine.tables[insn.number("bank")] = machine.striped(insn.sram_range("src"))[start : start + 256]


def move(machine: Machine, insn: Instruction) -> None:
    source, y = machine.read(insn.window("x")).reshape(-1), insn.window("y")
    start = insn.number("start")
    sizes = [insn.number(f"size{axis}") for axis in range(MOVE_AXES)]
    steps = [insn.number(f"step{axis}") for axis in range(MOVE_AXES)]
    reach = [(size - 1) * step for size, step in zip(sizes, steps, strict=True)]
    first, last = start + sum(min(0, r) for r in reach), start + sum(max(0, r) for r in reach)
    if not 0 <= first <= last < source.size or math.prod(sizes) != y.shape.elements:  # as_strided checks nothing
        what = f"elements {first}..{last} of {source.size} for {math.prod(sizes)} of {y.shape.elements} results"
        raise RunError("MoveOutsideSource", what)
    view = np.lib.stride_tricks.as_strided(source[start:], sizes, steps)  # int8: steps are bytes
    machine.write(y, view.reshape(y.shape))


def pad(machine: Machine, insn: Instruction) -> None:
    x, y = machine.read(insn.window("x")), insn.window("y")
    c, h, w = insn.number("dc"), insn.number("dh"), insn.number("dw")
    values = np.full(y.shape, insn.number("value"), np.int8)
    values[:, c : c + x.shape[1], h : h + x.shape[2], w : w + x.shape[3]] = x
    machine.write(y, values)


def geometry(insn: Instruction, up: int = 1) -> Geometry:
    """The sliding kernel of a convolution or a pool."""
    return Geometry(
        kernel=(insn.number("kh"), insn.number("kw")),
        stride=(insn.number("sh"), insn.number("sw")),
        pad_top=insn.number("pt"),
        pad_left=insn.number("pl"),
        dilation=(insn.number("dh"), insn.number("dw")),
        up=up,
    )


def conv(machine: Machine, insn: Instruction) -> None:
    """One weight tile: every slice column computes its own channels; see docs/isa.md for the order of weights."""
    y, bank = insn.window("y"), insn.number("bank")
    x = machine.read(insn.window("x"))
    acc = machine.read(_partial(insn)).view(np.int32) if not insn.number("first") else None
    sums = [np.zeros(0, np.int32)] * y.layout.co
    for column, (rows, channels) in enumerate(tile_channels(insn)):
        sums[column] = _contract_tile(insn, x, machine.weights[bank][column], rows, channels)
    if not insn.number("last"):
        total = np.concatenate(sums, axis=1)
        machine.write(_partial(insn), (total if acc is None else acc + total).view(np.int8))
        return
    result = machine.read(y)
    ocn = insn.number("ocn")
    for column, (rows, channels) in enumerate(tile_channels(insn)):
        total = sums[column] if acc is None else acc[:, column * ocn : (column + 1) * ocn] + sums[column]
        biased, multiplier = _requantization(machine.vector[bank][column], total)
        block = numerics.requantize(biased, multiplier, insn.number("zy"), insn.number("lo"), insn.number("hi"))
        if insn.number("lookup"):
            block = numerics.lookup(block, machine.tables[insn.number("tbank")])
        result[:, channels] = block[:, rows]
    machine.write(y, result)


def tile_channels(insn: Instruction) -> list[tuple[list[int], list[int]]]:
    """For each slice column: rows of its weight tile that are real, and the output channels (in the box) they make."""
    y, oc0, ocn = insn.window("y"), insn.number("oc0"), insn.number("ocn")
    per_slice = y.layout.channels(y.place.shape.c)
    columns = []
    for column in range(y.layout.co):
        made = [(row, column * per_slice + oc0 + row - y.box.c0) for row in range(ocn) if oc0 + row < per_slice]
        real = [(row, channel) for row, channel in made if 0 <= channel < y.box.c]
        columns.append(([row for row, _ in real], [channel for _, channel in real]))
    return columns


def _contract_tile(insn: Instruction, x: Int8, weights: Int8, rows: list[int], channels: list[int]) -> Int32:
    """Sums [n, ocn, oh, ow] of one slice column; rows that are no real channel stay zero."""
    y, ocn, k0, kn, groups = (
        insn.window("y"),
        insn.number("ocn"),
        insn.number("k0"),
        insn.number("kn"),
        insn.number("groups"),
    )
    shape, out = y.shape, (y.shape.h, y.shape.w)
    sums = np.zeros((shape.n, ocn, *out), np.int32)
    g = geometry(insn, insn.number("up"))
    w = weights.reshape(ocn, kn, *g.kernel)
    cin, cout = x.shape[1] // groups, shape.c // groups
    for group in sorted({channel // cout for channel in channels}):
        mine = [row for row, channel in zip(rows, channels, strict=True) if channel // cout == group]
        part = x[:, group * cin + k0 : group * cin + k0 + kn]
        sums[:, mine] = numerics.contract(part, w[mine], insn.number("zx"), g, out)
    return sums


def _requantization(vector: Int8, total: Int32) -> tuple[Int32, numerics.Float32]:
    """Sums with the bias added, and the multipliers, from (int32 bias, float32 multiplier) pairs."""
    pairs = np.ascontiguousarray(vector).reshape(-1, 8)
    bias = np.ascontiguousarray(pairs[:, :4]).view(np.int32).reshape(1, -1, 1, 1)
    return total + bias, np.ascontiguousarray(pairs[:, 4:]).view(np.float32).reshape(-1)


def _partial(insn: Instruction) -> Window:
    """Where the int32 partial sums of a tile lie: as int8 of four times the width, spread like y."""
    y = insn.window("y")
    layout = Layout(LayoutKind.HCHCW, y.layout.ho, y.layout.co)
    shape = Shape4(y.shape.n, y.layout.co * insn.number("ocn"), y.shape.h, 4 * y.shape.w)
    return whole(Place(insn.sram_range("acc").offset, layout, shape))


def binary_scales(insn: Instruction) -> BinaryScales:
    """Scales and zero points of add and mul."""
    return BinaryScales(
        sa=insn.real("sa"), za=insn.number("za"), sb=insn.real("sb"), zb=insn.number("zb"),
        sy=insn.real("sy"), zy=insn.number("zy"), lo=insn.number("lo"), hi=insn.number("hi"),
    )  # fmt: skip


def _binary(kind: Literal["add", "mul"]) -> Effect:
    def effect(machine: Machine, insn: Instruction) -> None:
        a, b, y = machine.read(insn.window("a")), machine.read(insn.window("b")), insn.window("y")
        result = numerics.binary(kind, a, b, binary_scales(insn))
        machine.write(y, np.ascontiguousarray(np.broadcast_to(result, y.shape)))

    return effect


def table(machine: Machine, insn: Instruction) -> None:
    x = machine.read(insn.window("x"))
    machine.write(insn.window("y"), numerics.lookup(x, machine.tables[insn.number("tbank")]))


def maxpool(machine: Machine, insn: Instruction) -> None:
    x, y = machine.read(insn.window("x")), insn.window("y")
    result = numerics.max_pool(x, geometry(insn), (y.shape.h, y.shape.w), insn.number("lo"), insn.number("hi"))
    machine.write(y, result)


def avgpool(machine: Machine, insn: Instruction) -> None:
    x, y = machine.read(insn.window("x")), insn.window("y")
    result = numerics.average_pool(
        x, geometry(insn), (y.shape.h, y.shape.w), sx=insn.real("sx"), zx=insn.number("zx"), sy=insn.real("sy"),
        zy=insn.number("zy"), padded=bool(insn.number("padded")), lo=insn.number("lo"), hi=insn.number("hi"),
    )  # fmt: skip
    machine.write(y, result)


EFFECTS: Mapping[str, Effect] = {
    "load": load,
    "loadw": loadw,
    "store": store,
    "preload": preload,
    "loadt": loadt,
    "move": move,
    "pad": pad,
    "conv": conv,
    "add": _binary("add"),
    "mul": _binary("mul"),
    "table": table,
    "maxpool": maxpool,
    "avgpool": avgpool,
}
