"""A machine that hands tensors on as arrays, where nothing can tell that their bytes are not in SRAM or DRAM."""

from __future__ import annotations

from collections.abc import Iterable

from isa.execute.dram_flow import DramFlow, whole_tensor
from isa.execute.kernel_form import UInt8, contiguous, kernel_form, machine_form
from isa.execute.tensors import Tensors
from isa.layout import Place, Window
from isa.machine import Int8, Machine
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, SramRange


class ForwardingMachine(Machine):
    """Runs tidy programs (isa/execute/lifetimes.py). Its SRAM is empty: tensors are arrays in kernel form, striped
    ranges are what was loaded into them. Of DRAM it has bytes for the tensors that `flow` does not let be arrays."""

    def __init__(self, config: NpuConfig, dram_bytes: int, flow: DramFlow) -> None:
        super().__init__(config, dram_bytes)
        self._flow = flow
        self._tensors = Tensors()
        self._loaded: dict[SramRange, Int8] = {}
        self._constants: dict[DramRange, Int8] = {}
        self._arrays: dict[DramWindow, DramWindow | None] = {}  # by window, the tensor, where that is an array

    def read(self, window: Window) -> Int8:
        return machine_form(self.fetch(window))

    def write(self, window: Window, values: Int8) -> None:
        self.keep(window, kernel_form(values))

    def read_dram(self, window: DramWindow) -> Int8:
        return machine_form(self.fetch_dram(window)) if self._array(window) else super().read_dram(window)

    def write_dram(self, window: DramWindow, values: Int8) -> None:
        if self._array(window):
            self.keep_dram(window, kernel_form(values))
        else:
            super().write_dram(window, values)

    def fetch(self, window: Window) -> UInt8:
        """The box of a tensor in kernel form, as a view: nobody who reads writes into what was read."""
        return self._tensors.read(window.place, window.box)

    def hold(self, window: Window) -> UInt8:
        """The same for later, contiguous: what is written until then does not show in it."""
        x = self.fetch(window)
        return x.copy() if self._tensors.may_change(window.place) else contiguous(x)

    def keep(self, window: Window, values: UInt8) -> None:
        """Keep values as the tensor, or put them into a part of it."""
        n, c, h, w = window.shape
        assert values.shape == (n, h, w, c), (values.shape, window)
        self._tensors.write(window.place, window.box, values)

    def fetch_dram(self, window: DramWindow) -> UInt8:
        """The same of a tensor in DRAM."""
        tensor = self._array(window)
        return self._tensors.read(tensor, window.box) if tensor else kernel_form(super().read_dram(window))

    def keep_dram(self, window: DramWindow, values: UInt8) -> None:
        """The same of a tensor in DRAM."""
        if tensor := self._array(window):
            self._tensors.drop(self._flow.overwrites[tensor])
            self._tensors.write(tensor, window.box, values)
        else:
            super().write_dram(window, machine_form(values))

    def _array(self, window: DramWindow) -> DramWindow | None:
        if window not in self._arrays:
            tensor = whole_tensor(window)
            self._arrays[window] = tensor if tensor in self._flow.overwrites else None
        return self._arrays[window]

    def read_dram_bytes(self, span: DramRange) -> Int8:
        """Consecutive bytes, as a view: where nothing writes them, always as the same one, which cannot be written."""
        if span.address + span.bytes > self._flow.constant:
            return super().read_dram_bytes(span)
        if span not in self._constants:
            self._constants[span] = super().read_dram_bytes(span)
            self._constants[span].flags.writeable = False
        return self._constants[span]

    def striped(self, span: SramRange) -> Int8:
        """What was loaded into a range: not its bytes behind that."""
        return self._loaded[span]

    def write_striped(self, span: SramRange, data: Int8) -> None:
        """Keep bytes as what the range holds; those that may still change are copied."""
        self._check_striped(span, data)
        self._loaded[span] = data.copy() if data.flags.writeable else data

    def begin(self) -> None:
        """A run begins, which reads nothing that an earlier one left in a tensor: none is kept to be filled anew."""
        self._tensors.drop(self._flow.overwrites)

    def release(self, places: Iterable[Place]) -> None:
        """Forget tensors that nothing reads any more."""
        self._tensors.drop(places)


def fetch(machine: Machine, window: Window) -> UInt8:
    """The box of a tensor of any machine in kernel form. Nobody who reads writes into what was read."""
    return machine.fetch(window) if isinstance(machine, ForwardingMachine) else kernel_form(machine.read(window))


def hold(machine: Machine, window: Window) -> UInt8:
    """The same for later, contiguous: what is written until then does not show in it."""
    return machine.hold(window) if isinstance(machine, ForwardingMachine) else kernel_form(machine.read(window))


def keep(machine: Machine, window: Window, values: UInt8) -> None:
    """Values in kernel form, put into the box of a tensor of any machine."""
    if isinstance(machine, ForwardingMachine):
        machine.keep(window, values)
    else:
        machine.write(window, machine_form(values))
