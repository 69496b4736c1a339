"""What tensors hold, as arrays: one that is handed on whole is shared, and copied before a part of it is written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from isa.execute.channels_last import channels_second, run_channels_last
from isa.execute.numerics import Int8
from isa.layout import Box, Place
from isa.operands import DramWindow

Tensor = Place | DramWindow  # of SRAM; of DRAM, the whole of it


class Tensors:
    """Arrays [n, c, h, w] by tensor, channels last in memory."""

    def __init__(self) -> None:
        self._arrays: dict[Tensor, Int8] = {}
        self._filling: dict[int, Tensor] = {}  # by the id of an array made here that no other tensor shares

    def read(self, tensor: Tensor, box: Box) -> Int8:
        """A view of a box. Nobody who reads writes into what was read."""
        return self._arrays[tensor][box.spans]

    def write(self, tensor: Tensor, box: Box, values: Int8) -> None:
        """Put values into a box of a tensor: what was not written yet is anything. A whole tensor may share what
        another one holds."""
        if values.shape == tuple(tensor.shape):
            self.drop((tensor,))
            held = self._arrays[tensor] = run_channels_last(values)
            self._filling.pop(id(_memory(held)), None)
        else:
            self._fill(tensor, box, values)

    def _fill(self, tensor: Tensor, box: Box, values: Int8) -> None:
        held, shape = self._arrays.get(tensor), tensor.shape
        if held is None or id(_memory(held)) not in self._filling:
            own = channels_second(np.empty((shape.n, shape.h, shape.w, shape.c), np.int8))
            if held is not None:
                own[...] = held
            self._arrays[tensor] = held = own
            self._filling[id(_memory(own))] = tensor
        held[box.spans] = values

    def drop(self, tensors: Iterable[Tensor]) -> None:
        """Forget tensors; those that there are not, too."""
        for tensor in tensors:
            held = self._arrays.pop(tensor, None)
            if held is not None and self._filling.get(id(_memory(held))) == tensor:
                del self._filling[id(_memory(held))]


def _memory(array: Int8) -> Int8:
    """The array that a view is of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
