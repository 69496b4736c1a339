"""Architectural state of one NPU: DRAM, SRAM by slice, weight and vector registers, tables, instruction memory.

Unwritten SRAM holds a fixed poison, so that reading it is wrong in the same way every time.
Slices that take the same weight group hold the same bytes: the registers keep one copy a group.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isa.errors import RunError
from isa.layout import LayoutKind, Place, Window
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, SramRange

Int8 = NDArray[np.int8]
POISON = 0x5A


class Machine:
    """State of an NPU whose DRAM is as large as the program needs."""

    def __init__(self, config: NpuConfig, dram_bytes: int) -> None:
        """Raises RunError OutOfDram when the program needs more DRAM than the machine has, else OutOfMemory."""
        if dram_bytes > config.dram_bytes:
            raise RunError(
                "OutOfDram", f"the program needs {dram_bytes} B of DRAM, the machine has {config.dram_bytes}"
            )
        self.config = config
        try:
            self.dram: Int8 = np.zeros(dram_bytes, np.int8)
        except MemoryError as error:
            what = f"the program needs {dram_bytes} B of DRAM, this computer cannot give as much"
            raise RunError("OutOfMemory", what, hint="run it with a smaller batch, or on a larger computer") from error
        self.sram: Int8 = np.full((config.num_slices, config.sram_bytes_per_slice), POISON, np.int8)
        self.weights: list[Int8] = [np.zeros((1, 0), np.int8)] * 2  # by bank: [groups, wbytes]
        self.vector: list[Int8] = [np.zeros((1, 0), np.int8)] * 2  # by bank: [groups, vbytes]
        self.tables: Int8 = np.zeros((2, 256), np.int8)

    def read(self, window: Window) -> Int8:
        """The box of an SRAM tensor as a fresh array [n, c, h, w]."""
        region, (n0, c0, h0) = self._region(window)
        n, c, h, w = window.shape
        return np.ascontiguousarray(region[n0 : n0 + n, c0 : c0 + c, h0 : h0 + h, :w])

    def write(self, window: Window, values: Int8) -> None:
        """Put values [n, c, h, w] into the box of an SRAM tensor; elements outside the box keep theirs."""
        n, c, h, w = window.shape
        assert values.shape == (n, c, h, w), (values.shape, window)
        region, (n0, c0, h0) = self._region(window)
        region[n0 : n0 + n, c0 : c0 + c, h0 : h0 + h, :w] = values
        split = _split(region, window)
        self._slices(window)[..., : split.shape[-1]] = split  # the padding behind the last channel keeps its bytes

    def read_dram(self, window: DramWindow) -> Int8:
        """The box of a DRAM tensor as a view [n, c, h, w]."""
        return self._dram_view(window)

    def write_dram(self, window: DramWindow, values: Int8) -> None:
        """Put values [n, c, h, w] into the box of a DRAM tensor."""
        self._dram_view(window)[...] = values

    def read_dram_bytes(self, span: DramRange) -> Int8:
        """Consecutive bytes, as a view."""
        return self.dram[span.address : span.address + span.bytes]

    def striped(self, span: SramRange) -> Int8:
        """A striped range as one run of bytes [num_slices * bytes_per_slice], copied."""
        return self.sram[:, span.offset : span.offset + span.bytes_per_slice].reshape(-1)

    def write_striped(self, span: SramRange, data: Int8) -> None:
        """Spread bytes over a striped range; what is left of the range keeps its bytes."""
        self._check_striped(span, data)
        width = span.bytes_per_slice
        full, rest = divmod(data.size, width)
        target = self.sram[:, span.offset : span.offset + width]
        target[:full] = data[: full * width].reshape(full, width)
        if rest:
            target[full, :rest] = data[full * width :]

    def _check_striped(self, span: SramRange, data: Int8) -> None:
        if data.size > self.config.num_slices * span.bytes_per_slice:
            what = f"{data.size} B do not fit {self.config.num_slices} slices of {span.bytes_per_slice} B"
            raise RunError("StripedRangeTooSmall", what)

    def _slices(self, window: Window) -> Int8:
        """The slices and rows that hold the box, as a view shaped like the layout: (no, ho, co, n, hi, ...)."""
        place, (no, ho, co) = window.place, _spans(window)
        inner = place.layout.inner(place.shape, self.config.sram_access_bytes)
        size = inner[0] * inner[1] * inner[2] * inner[3]
        block = self.sram[: place.layout.slices(place.shape.n), place.offset : place.offset + size]
        shaped = block.reshape(*place.layout.grid(place.shape.n), *inner)
        return shaped[no.start : no.stop, ho.start : ho.stop, co.start : co.stop]

    def _region(self, window: Window) -> tuple[Int8, tuple[int, int, int]]:
        """The slices that hold the box as a logical array [n, c, h, w], and where the box starts in it."""
        place, (no, ho, co) = window.place, _spans(window)
        corner = (
            window.box.n0 - no.start,
            window.box.c0 - co.start * place.layout.channels(place.shape.c),
            window.box.h0 - ho.start * place.layout.rows(place.shape.h),
        )
        return _join(self._slices(window), place), corner

    def _dram_view(self, window: DramWindow) -> Int8:
        n, c, h, w = window.shape
        flat = self.dram[window.address : window.address + window.bytes]
        if window.order is LayoutKind.HCHCW:
            tensor = flat.reshape(n, h, c, w).transpose(0, 2, 1, 3)
        else:
            tensor = flat.reshape(n, h, w, c).transpose(0, 3, 1, 2)
        return tensor[window.box.spans]


def _spans(window: Window) -> tuple[range, range, range]:
    """Which images, rows and columns of the slice grid hold the box."""
    box, layout, shape = window.box, window.layout, window.place.shape
    hi, ci = layout.rows(shape.h), layout.channels(shape.c)
    return (
        range(box.n0, box.n0 + box.n) if layout.apart else range(1),
        range(box.h0 // hi, -(-(box.h0 + box.h) // hi)),
        range(box.c0 // ci, -(-(box.c0 + box.c) // ci)),
    )


def _join(slices: Int8, place: Place) -> Int8:
    """(no, ho, co, n, hi, ci, w) or (no, ho, co, n, hi, w, ci) -> [no * n, co * ci, ho * hi, w], copied."""
    if place.layout.kind is LayoutKind.HCHCW:
        no, ho, co, n, hi, ci, w = slices.shape
        return slices.transpose(0, 3, 2, 5, 1, 4, 6).reshape(no * n, co * ci, ho * hi, w)
    no, ho, co, n, hi, w, _ = slices.shape
    ci = place.layout.channels(place.shape.c)  # the padding behind the last channel is dropped
    return slices[..., :ci].transpose(0, 3, 2, 6, 1, 4, 5).reshape(no * n, co * ci, ho * hi, w)


def _split(region: Int8, window: Window) -> Int8:
    """The inverse of _join: [n, c, h, w] -> (no, ho, co, n, hi, ci, w) or (no, ho, co, n, hi, w, ci)."""
    layout, (no, ho, co) = window.layout, _spans(window)
    images, _, _, w = region.shape
    hi, ci = layout.rows(window.place.shape.h), layout.channels(window.place.shape.c)
    grid = region.reshape(len(no), images // len(no), len(co), ci, len(ho), hi, w)
    inner = (5, 3, 6) if layout.kind is LayoutKind.HCHCW else (5, 6, 3)
    return grid.transpose(0, 4, 2, 1, *inner)
