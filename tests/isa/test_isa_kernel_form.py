"""Tensors in the form of the kernels, whatever their memory looks like."""

from __future__ import annotations

import numpy as np
import pytest

from isa.execute.accelerated import item_of
from isa.execute.kernel_form import contiguous, kernel_form, machine_form, runs
from isa.execute.lookup import look_up
from isa.instructions import Load, Store
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window
from isa.machine import Int8, Machine
from isa.npu import target
from isa.operands import DramWindow

NPU = target("warboy")


def values(*shape: int) -> Int8:
    return np.random.default_rng(0).integers(-128, 128, shape, np.int8)


def channels_last_in_memory(x: Int8) -> Int8:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("channels", [1, 3, 8, 9, 40])
@pytest.mark.parametrize(
    "laid", [np.ascontiguousarray, channels_last_in_memory, lambda x: values(2, 50, 5, 7)[:, 2 : 2 + x.shape[1], 1:]],
    ids=["channels-second", "channels-last", "a-part"],
)  # fmt: skip
def test_kernels_get_what_the_machine_has_plus_128_with_channels_last(channels: int, laid: object) -> None:
    assert callable(laid)
    x = laid(values(2, channels, 5, 7))
    before, y = x.copy(), kernel_form(x)
    assert y.dtype == np.uint8 and y.flags.c_contiguous
    assert np.array_equal(y, x.transpose(0, 2, 3, 1).astype(np.int16) + 128)
    y[...] = 0
    assert np.array_equal(x, before)
    assert np.array_equal(machine_form(kernel_form(x)), x)


def test_what_is_contiguous_is_not_copied_and_what_is_not_keeps_its_values() -> None:
    y = kernel_form(values(2, 12, 5, 7))
    assert contiguous(y) is y
    for view in (y[..., 3:7], y[:, 1:, ::2], y[..., ::3], y[..., 5:6], y[:, :, 2:4, :5], y.transpose(0, 3, 1, 2)):
        assert contiguous(view).flags.c_contiguous and np.array_equal(contiguous(view), view)


def test_a_run_is_written_through_its_view() -> None:
    y, wanted = (kernel_form(values(1, 12, 2, 3)) for _ in range(2))
    part = np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4)
    wanted[..., 5:9] = part
    runs(y[..., 5:9])[...] = runs(part)
    assert np.array_equal(y, wanted)


def test_every_byte_is_looked_up() -> None:
    table = values(256)
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 4, 4)
    found = look_up(every, table)
    assert np.array_equal(found, (table.astype(np.int16) + 128).reshape(every.shape))
    found[...] = 0  # it can be written


def test_transfers_on_a_machine_of_bytes_are_what_they_are() -> None:
    place = Place(0, Layout(LayoutKind.HCHWC, 2, 3), Shape4(1, 9, 4, 5))
    box = Box(0, 1, 2, 5, 1, 2)
    there = DramWindow(0, LayoutKind.HCHCW, Shape4(1, 5, 2, 5), Box(0, 1, 0, 5, 0, 2))
    back = DramWindow(256, LayoutKind.HCHWC, Shape4(1, 5, 2, 5), there.box)
    machine, x = Machine(NPU, 512), values(1, 5, 2, 5)
    machine.write_dram(there, x)
    for insn in (Load(src=there, dst=Window(place, box)), Store(src=Window(place, box), dst=back)):
        item_of(insn).run(machine)
    assert np.array_equal(machine.read(Window(place, box)), x) and np.array_equal(machine.read_dram(back), x)
