"""What tensors hold, as arrays: one that is handed on whole is shared, and copied before a part of it is written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from isa.execute.kernel_form import UInt8, contiguous, runs
from isa.layout import Box, Place
from isa.operands import DramWindow

Tensor = Place | DramWindow  # of SRAM; of DRAM, the whole of it


class Tensors:
    """Arrays in kernel form (isa/execute/kernel_form.py) by tensor."""

    def __init__(self) -> None:
        self._arrays: dict[Tensor, UInt8] = {}
        self._filling: dict[int, Tensor] = {}  # by the id of an array made here that no other tensor shares

    def read(self, tensor: Tensor, box: Box) -> UInt8:
        """A view of a box. Nobody who reads writes into what was read."""
        return self._arrays[tensor][_spans(box)]

    def may_change(self, tensor: Tensor) -> bool:
        """Whether what was read of it would show what is written later: only into what is being filled."""
        return id(self._arrays[tensor]) in self._filling

    def write(self, tensor: Tensor, box: Box, values: UInt8) -> None:
        """Put values into a box of a tensor: what was not written yet is anything. A whole tensor may share what
        another one holds."""
        n, c, h, w = tensor.shape
        if values.shape == (n, h, w, c):
            self.drop((tensor,))
            held = self._arrays[tensor] = contiguous(values)
            self._filling.pop(id(_memory(held)), None)
        else:
            self._fill(tensor, box, values)

    def _fill(self, tensor: Tensor, box: Box, values: UInt8) -> None:
        held, (n, c, h, w) = self._arrays.get(tensor), tensor.shape
        if held is None or id(held) not in self._filling:
            own = np.empty((n, h, w, c), np.uint8)
            if held is not None:
                runs(own)[...] = runs(held)
            self._arrays[tensor] = held = own
            self._filling[id(own)] = tensor
        part = held[_spans(box)]
        if part.shape == values.shape:
            runs(part)[...] = runs(values)
        else:  # of a hostile file: NumPy repeats or refuses, as the machine does
            part[...] = values

    def drop(self, tensors: Iterable[Tensor]) -> None:
        """Forget tensors; those that there are not, too."""
        for tensor in tensors:
            held = self._arrays.pop(tensor, None)
            if held is not None and self._filling.get(id(held)) == tensor:
                del self._filling[id(held)]


def _spans(box: Box) -> tuple[slice, slice, slice, slice]:
    n, c, h = box.spans
    return n, h, slice(None), c


def _memory(array: UInt8) -> UInt8:
    """The array that a view is of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
