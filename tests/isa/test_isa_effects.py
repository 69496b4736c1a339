"""Elementwise, pooling and padding instructions: the arithmetic of numerics, wherever their windows lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_strategies import layouts

from isa.execute import numerics
from isa.execute.accelerated import item_of
from isa.execute.numerics import BinaryScales, Geometry
from isa.instructions import (
    Accumulate,
    Add,
    AveragePool,
    Instruction,
    L2Norm,
    L2Normalize,
    MatMul,
    Max,
    MaxPool,
    Min,
    Mul,
    Pad,
    Softmax,
    Table,
)
from isa.layout import Box, Place, Shape4, Window, whole
from isa.machine import Machine
from isa.npu import target
from isa.operands import SramRange

NPU = replace(target("warboy"), sram_bytes_per_slice=65_536)


def random_int8(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


class Bench:
    """A machine and the windows on it; every window is the inside of a larger place with a layout of its own."""

    def __init__(self, draw: st.DataObject) -> None:
        self.draw, self.machine, self.offset = draw.draw, Machine(NPU, 64), 0

    def window(self, shape: tuple[int, int, int, int]) -> Window:
        n, c, h, w = shape
        before = [self.draw(st.integers(0, 2)) for _ in range(2)]
        place = Place(self.offset, self.draw(layouts(16, n)), Shape4(n, c + before[0] + 1, h + before[1] + 1, w))
        self.offset += 8192
        window = Window(place, Box(0, n, before[0], c, before[1], h))
        self.machine.write(whole(place), random_int8(tuple(place.shape), self.offset))
        return window

    def check(self, insn: Instruction, y: Window, wanted: np.ndarray) -> None:
        """Run by itself and by its kernel, and compare the whole place: what lies around the window must stay."""
        before = self.machine.read(whole(y.place))
        around, b = before.copy(), y.box
        around[:, b.c0 : b.c0 + b.c, b.h0 : b.h0 + b.h] = wanted
        for run in (insn.execute, item_of(insn).run):
            self.machine.write(whole(y.place), before)
            run(self.machine)
            assert np.array_equal(self.machine.read(whole(y.place)), around)


SHAPES = st.tuples(*(st.integers(1, 5) for _ in range(4)))
FAST = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("kind", ["add", "mul", "max", "min"])
@FAST
@given(data=st.data())
def test_binary_repeats_axes_of_extent_one(kind: str, data: st.DataObject) -> None:
    bench, shape = Bench(data), data.draw(SHAPES)
    small = tuple(data.draw(st.sampled_from([1, extent])) for extent in shape)
    a, b, y = bench.window(shape), bench.window(small), bench.window(shape)
    scales = BinaryScales(sa=0.5, za=3, sb=0.25, zb=-4, sy=1.5, zy=7, lo=-50, hi=60)
    insn = {"add": Add, "mul": Mul, "max": Max, "min": Min}[kind](
        a=a, b=b, y=y, sa=0.5, za=3, sb=0.25, zb=-4, sy=1.5, zy=7, lo=-50, hi=60
    )
    left, right = bench.machine.read(a), np.broadcast_to(bench.machine.read(b), shape)
    bench.check(insn, y, numerics.binary(kind, left, right, scales))  # type: ignore[arg-type]


@FAST
@given(st.data(), st.integers(0, 1))
def test_table_looks_up_in_its_bank(data: st.DataObject, bank: int) -> None:
    bench, shape = Bench(data), data.draw(SHAPES)
    x, y = bench.window(shape), bench.window(shape)
    bench.machine.tables[bank] = random_int8((256,), 5)
    wanted = numerics.lookup(bench.machine.read(x), random_int8((256,), 5))
    bench.check(Table(x=x, y=y, tbank=bank), y, wanted)


@FAST
@given(st.data(), st.booleans())
def test_pools_slide_over_their_window_alone(data: st.DataObject, padded: bool) -> None:
    bench, g = Bench(data), Geometry(kernel=(3, 2), stride=(2, 1), pad_top=1, pad_left=1)
    x, y = bench.window((2, 3, 5, 4)), bench.window((2, 3, 3, 5))
    values = bench.machine.read(x)
    geometry: dict[str, Any] = {"kh": 3, "kw": 2, "sh": 2, "sw": 1, "pt": 1, "pl": 1, "lo": -90, "hi": 80}
    bench.check(MaxPool(x=x, y=y, **geometry), y, numerics.max_pool(values, g, (3, 5), -90, 80))
    wanted = numerics.average_pool(values, g, (3, 5), sx=0.5, zx=3, sy=0.25, zy=-2, padded=padded, lo=-90, hi=80)
    scales: dict[str, Any] = {"sx": 0.5, "zx": 3, "sy": 0.25, "zy": -2, "padded": int(padded)}
    bench.check(AveragePool(x=x, y=y, **geometry, **scales), y, wanted)


@FAST
@given(st.data(), SHAPES)
def test_pad_puts_the_source_into_a_constant(data: st.DataObject, shape: tuple[int, int, int, int]) -> None:
    bench = Bench(data)
    before = [data.draw(st.integers(0, 2)) for _ in range(3)]
    after = [data.draw(st.integers(0, 2)) for _ in range(3)]
    n, *inner = shape
    c, h, w = (b + extent + a for b, extent, a in zip(before, inner, after, strict=True))
    x, y = bench.window(shape), bench.window((n, c, h, w))
    pads = [(0, 0), *zip(before, after, strict=True)]
    wanted = np.pad(bench.machine.read(x), pads, constant_values=-9)
    bench.check(Pad(x=x, y=y, dc=before[0], dh=before[1], dw=before[2], value=-9), y, wanted)


@FAST
@given(st.data(), SHAPES)
def test_across_channels_every_pixel_is_for_itself(data: st.DataObject, shape: tuple[int, int, int, int]) -> None:
    bench = Bench(data)
    x, y, one = bench.window(shape), bench.window(shape), bench.window((shape[0], 1, *shape[2:]))
    values = bench.machine.read(x)
    bench.check(
        Softmax(x=x, y=y, sx=0.1, sy=1 / 256, zy=-128), y, numerics.softmax(values, sx=0.1, sy=1 / 256, zy=-128)
    )
    wanted = numerics.l2_normalize(values, zx=3, sy=0.0078125, zy=-2, lo=-90, hi=80)
    bench.check(L2Normalize(x=x, y=y, sy=0.0078125, zx=3, zy=-2, lo=-90, hi=80), y, wanted)
    norm = numerics.l2_norm(values, sx=0.5, zx=3, sy=0.75, zy=-100)
    bench.check(L2Norm(x=x, y=one, sx=0.5, sy=0.75, zx=3, zy=-100), one, norm)


@FAST
@given(st.data(), SHAPES, st.integers(1, 5))
def test_matmul_multiplies_the_matrices_of_each_channel(
    data: st.DataObject, shape: tuple[int, int, int, int], depth: int
) -> None:
    bench, (n, c, h, w) = Bench(data), shape
    repeated = data.draw(st.sampled_from([(n, c), (1, c), (n, 1)]))
    a, b, y = bench.window((n, c, h, depth)), bench.window((*repeated, depth, w)), bench.window(shape)
    left, right = bench.machine.read(a).astype(int) - 3, bench.machine.read(b).astype(int) + 4
    scale = np.float32(0.5) * np.float32(0.25) / np.float32(40)
    wanted = np.clip(np.rint((left @ right).astype(np.float32) * scale) + 7, -50, 60).astype(np.int8)
    bench.check(MatMul(a=a, b=b, y=y, sa=0.5, za=3, sb=0.25, zb=-4, sy=40.0, zy=7, lo=-50, hi=60), y, wanted)


@FAST
@given(st.data(), SHAPES)
def test_accumulate_rounds_a_sum_once(data: st.DataObject, shape: tuple[int, int, int, int]) -> None:
    bench = Bench(data)
    small = tuple(data.draw(st.sampled_from([1, extent])) for extent in shape)
    xs, y = [bench.window(shape), bench.window(small), bench.window(shape)], bench.window(shape)  # type: ignore[arg-type]
    acc = SramRange(bench.offset, 16_384)
    total = sum(numerics.dequantize(bench.machine.read(x), 0.5, i) for i, x in enumerate(xs))
    for i, x in enumerate(xs[:2]):
        Accumulate(x=x, y=y, acc=acc, sx=0.5, zx=i, sy=0.25, first=int(i == 0), last=0).execute(bench.machine)
    insn = Accumulate(x=xs[2], y=y, acc=acc, sx=0.5, zx=2, sy=0.25, zy=5, first=0, last=1)
    bench.check(insn, y, numerics.quantize(total, 0.25, 5))  # type: ignore[arg-type]
