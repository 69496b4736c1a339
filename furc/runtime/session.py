"""Session: a binary ready to run on the modelled NPU, with the host's share on ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from furc.runtime.host_model import check_host_models
from furc.runtime.host_step import HostRunner
from isa import enf as enf_file
from isa import npu as npus
from isa.enf import COMPILE_AGAIN, OPEN, Enf, HostStep, ModelTensor, NpuStep
from isa.errors import EnfError, RunError, counted, first_line
from isa.execute.dram_flow import at_the_edge
from isa.interpreter import Interpreter
from isa.npu import NpuConfig

Array = NDArray[Any]


class Session:
    """A loaded binary. Kernels are prepared at the first run and kept. Threads may share it: they take turns."""

    def __init__(self, enf: Enf | str | Path, *, npu: NpuConfig | None = None, accelerate: bool = True) -> None:
        """npu: the machine to run on, the ENF's target by default. accelerate: False runs the NumPy reference.

        Raises EnfError where the file is damaged or made for another machine.
        """
        self.enf = enf if isinstance(enf, Enf) else enf_file.load(Path(enf))
        self.npu = npu if npu is not None else npus.target(self.enf.target)
        enf_file.check_compatible(self.enf, self.npu)
        self._interpreter = Interpreter(self.enf, self.npu, accelerate=accelerate)
        check_host_models(self.enf)
        self._hosts = [HostRunner(step) for step in self.enf.host_steps]
        self._lock = Lock()

    @property
    def inputs(self) -> tuple[ModelTensor, ...]:
        """What run() takes."""
        return self.enf.inputs

    @property
    def outputs(self) -> tuple[ModelTensor, ...]:
        """What run() gives."""
        return self.enf.outputs

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held that would have to be given back; here because sessions of other runtimes are used so."""

    def __repr__(self) -> str:
        return f"<Session of '{self.enf.model_name}' on {self.npu.title}: takes {_list(self._known())}>"

    def run(self, inputs: Mapping[str, Array] | Sequence[Array] | Array) -> dict[str, Array]:
        """Run once. inputs: an array for each input name, or arrays in the order of `inputs`, of which one may stand
        alone; result: an array for each output name.

        Raises RunError UnknownInput, MissingInput, InputShape or InputType.
        """
        values = self._checked(inputs if isinstance(inputs, Mapping) else self._named(inputs))
        with self._lock:
            self._run_steps(values)
        return {t.name: _shaped(values[t.name], t.name, t.dtype, t.shape) for t in self.enf.outputs}

    def _run_steps(self, values: dict[str, Array]) -> None:
        """Add what each step makes."""
        hosts, programs = iter(self._hosts), 0
        self._interpreter.begin()
        for step in self.enf.steps:
            if isinstance(step, HostStep):
                values |= next(hosts).run(values)
            else:
                self._run_npu(step, programs, values)
                programs += 1

    def _run_npu(self, step: NpuStep, number: int, values: dict[str, Array]) -> None:
        machine = self._interpreter.machine
        for tensor in step.inputs:
            data = _shaped(values[tensor.name], tensor.name, "int8", tuple(tensor.shape))
            machine.write_dram(at_the_edge(tensor), data)  # Lower: the host re-lays the tensor
        self._interpreter.run(number)
        for tensor in step.outputs:
            values[tensor.name] = machine.read_dram(at_the_edge(tensor)).copy()  # the next run writes there again

    def _known(self) -> dict[str, ModelTensor]:
        return {tensor.name: tensor for tensor in self.enf.inputs}

    def _named(self, inputs: Sequence[Array] | Array) -> dict[str, Array]:
        """Arrays in the order of the inputs, by name. An array is one input, not a list of them."""
        if isinstance(inputs, str | bytes) or not isinstance(inputs, Iterable | np.generic):
            what = f"the inputs are {type(inputs).__name__}, no arrays"
            raise RunError("InputType", what, hint=f"pass arrays by name, or in this order: {_list(self._known())}")
        arrays = [inputs] if isinstance(inputs, np.ndarray | np.generic) else list(inputs)
        if len(arrays) != len(self.enf.inputs):
            what = f"{counted(len(arrays), 'array')}, the model has {counted(len(self.enf.inputs), 'input')}"
            raise RunError("MissingInput", what, hint=f"in this order: {_list(self._known())}")
        return {tensor.name: array for tensor, array in zip(self.enf.inputs, arrays, strict=True)}

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs as arrays of the types that the model wants, in this computer's byte order."""
        known = self._known()
        for name in inputs:
            if name not in known:
                raise RunError("UnknownInput", f"the model has no input '{name}'", hint=f"its inputs: {_list(known)}")
        return {name: _array(inputs, name, tensor) for name, tensor in known.items()}


def load(path: str | Path, *, npu: NpuConfig | None = None) -> Session:
    """A session of an ENF file."""
    return Session(path, npu=npu)


def _array(inputs: Mapping[str, Array], name: str, tensor: ModelTensor) -> Array:
    """One input. Raises RunError MissingInput, InputType or InputShape."""
    if name not in inputs:
        raise RunError("MissingInput", f"no data for input '{name}'", hint=f"pass {_describe(tensor)}")
    if np.ma.is_masked(inputs[name]):
        hint = "fill in what is masked, with .filled(value)"
        raise RunError("InputType", f"input '{name}' has masked values, which the model cannot tell", hint=hint)
    try:
        array, wanted = np.asarray(inputs[name]), np.dtype(tensor.dtype)
    except (ValueError, TypeError, RuntimeError) as error:
        # rows of unlike lengths, tensors of other libraries on another device or with gradients
        what = f"input '{name}' is {type(inputs[name]).__name__}, no array: {first_line(error)}"
        raise RunError("InputType", what, hint=f"pass {_describe(tensor)}") from error
    if array.dtype.newbyteorder("=") != wanted:
        what = f"input '{name}' is {array.dtype.name}, expected {tensor.dtype}"
        raise RunError("InputType", what, hint=f"convert it with .astype('{tensor.dtype}')")
    if array.shape != tensor.shape:
        what = f"input '{name}' has shape {list(array.shape)}, expected {list(tensor.shape)}"
        raise RunError("InputShape", what, hint="reshape the data, or compile with another --batch")
    return array.astype(wanted, copy=False)  # the same values, whatever the byte order


def _shaped(value: Any, name: str, dtype: str, shape: tuple[int, ...]) -> Array:
    """A tensor of the host under the shape that the file gives it. Raises EnfError BadEnf where it cannot be that."""
    array = np.asarray(value)
    if OPEN in shape:
        fits = array.ndim == len(shape) and all(e in (d, OPEN) for d, e in zip(array.shape, shape, strict=True))
        shape = array.shape
    else:
        fits = array.size == math.prod(shape)
    if array.dtype != np.dtype(dtype) or not fits:
        what = f"tensor '{name}' is {array.dtype.name}{list(array.shape)}, the file says {dtype}{list(shape)}"
        raise EnfError("BadEnf", what, hint=COMPILE_AGAIN)
    return array.reshape(shape)


def _list(known: Mapping[str, ModelTensor]) -> str:
    return ", ".join(_describe(tensor) for tensor in known.values())


def _describe(tensor: ModelTensor) -> str:
    return f"'{tensor.name}' {tensor.dtype}{list(tensor.shape)}"
