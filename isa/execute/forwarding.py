"""A machine that hands tensors on as arrays, where nothing can tell that their bytes are not in SRAM or DRAM."""

from __future__ import annotations

from collections.abc import Iterable

from isa.execute.dram_flow import DramFlow, whole_tensor
from isa.execute.tensors import Tensors
from isa.layout import Place, Window
from isa.machine import Int8, Machine
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, SramRange


class ForwardingMachine(Machine):
    """Runs tidy programs (isa/execute/lifetimes.py). Its SRAM is empty: tensors are arrays, striped ranges are what
    was loaded into them. Of DRAM it has bytes for the tensors that `flow` does not let be arrays."""

    def __init__(self, config: NpuConfig, dram_bytes: int, flow: DramFlow) -> None:
        super().__init__(config, dram_bytes)
        self._flow = flow
        self._tensors = Tensors()
        self._loaded: dict[SramRange, Int8] = {}

    def read(self, window: Window) -> Int8:
        """The box of a tensor, as a view: nobody who reads writes into what was read."""
        return self._tensors.read(window.place, window.box)

    def write(self, window: Window, values: Int8) -> None:
        """Keep values as the tensor, or put them into a part of it."""
        assert values.shape == tuple(window.shape), (values.shape, window)
        self._tensors.write(window.place, window.box, values)

    def read_dram(self, window: DramWindow) -> Int8:
        tensor = whole_tensor(window)
        if tensor in self._flow.overwrites:
            return self._tensors.read(tensor, window.box)
        return super().read_dram(window)

    def write_dram(self, window: DramWindow, values: Int8) -> None:
        tensor = whole_tensor(window)
        ended = self._flow.overwrites.get(tensor)
        if ended is None:
            super().write_dram(window, values)
            return
        self._tensors.drop(ended)
        self._tensors.write(tensor, window.box, values)

    def read_dram_bytes(self, span: DramRange) -> Int8:
        """Consecutive bytes, as a view that cannot be written where nothing else writes them either."""
        data = super().read_dram_bytes(span)
        if span.address + span.bytes <= self._flow.constant:
            data.flags.writeable = False
        return data

    def striped(self, span: SramRange) -> Int8:
        """What was loaded into a range: not its bytes behind that."""
        return self._loaded[span]

    def write_striped(self, span: SramRange, data: Int8) -> None:
        """Keep bytes as what the range holds; those that may still change are copied."""
        self._check_striped(span, data)
        self._loaded[span] = data.copy() if data.flags.writeable else data

    def release(self, places: Iterable[Place]) -> None:
        """Forget tensors that nothing reads any more."""
        self._tensors.drop(places)
