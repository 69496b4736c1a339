"""Session: a binary ready to run on the modelled NPU, with the host's share on ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import external_data_helper

from furc.runtime.host_model import check_host_models
from isa import enf as enf_file
from isa import npu as npus
from isa.enf import DramTensor, Enf, HostSegment, ModelTensor
from isa.enf_container import COMPILE_AGAIN
from isa.errors import EnfError, RunError
from isa.interpreter import Interpreter
from isa.layout import Box
from isa.npu import NpuConfig
from isa.operands import DramWindow

Array = NDArray[Any]


class Session:
    """A loaded binary. Kernels are prepared at the first run and kept."""

    def __init__(self, enf: Enf | str | Path, *, npu: NpuConfig | None = None, accelerate: bool = True) -> None:
        """npu: the machine to run on, the ENF's target by default. accelerate: False runs the NumPy reference.

        Raises EnfError where the file is damaged or made for another machine.
        """
        self.enf = enf if isinstance(enf, Enf) else enf_file.load(Path(enf))
        self.npu = npu if npu is not None else npus.target(self.enf.target)
        enf_file.check_compatible(self.enf, self.npu)
        self._interpreter = Interpreter(self.enf, self.npu, accelerate=accelerate)
        check_host_models(self.enf)
        self._head, self._tail = _host(self.enf.head), _host(self.enf.tail)

    @property
    def inputs(self) -> tuple[ModelTensor, ...]:
        """What run() takes."""
        return self.enf.inputs

    @property
    def outputs(self) -> tuple[ModelTensor, ...]:
        """What run() gives."""
        return self.enf.outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. inputs: an array for each input name; result: an array for each output name.

        Raises RunError UnknownInput, MissingInput, InputShape or InputType.
        """
        self._check(inputs)
        values = dict(inputs) | _run_host(self._head, self.enf.head, inputs)
        for tensor in self.enf.npu_inputs:
            data = _shaped(values[tensor.name], tensor.name, "int8", tuple(tensor.shape))
            self._interpreter.machine.write_dram(_whole(tensor), data)  # Lower: the host re-lays the tensor
        self._interpreter.run()
        for tensor in self.enf.npu_outputs:
            values[tensor.name] = np.ascontiguousarray(self._interpreter.machine.read_dram(_whole(tensor)))
        values |= _run_host(self._tail, self.enf.tail, values)
        return {t.name: _shaped(values[t.name], t.name, t.dtype, t.shape) for t in self.enf.outputs}

    def _check(self, inputs: Mapping[str, Array]) -> None:
        known = {tensor.name: tensor for tensor in self.enf.inputs}
        for name in inputs:
            if name not in known:
                raise RunError("UnknownInput", f"the model has no input '{name}'", hint=f"its inputs: {_list(known)}")
        for name, tensor in known.items():
            if name not in inputs:
                raise RunError("MissingInput", f"no data for input '{name}'", hint=f"pass {_describe(tensor)}")
            array = np.asarray(inputs[name])
            if array.dtype.name != tensor.dtype:
                what = f"input '{name}' is {array.dtype.name}, expected {tensor.dtype}"
                raise RunError("InputType", what, hint=f"convert it with .astype('{tensor.dtype}')")
            if array.shape != tensor.shape:
                what = f"input '{name}' has shape {list(array.shape)}, expected {list(tensor.shape)}"
                raise RunError("InputShape", what, hint="reshape the data, or compile with another --batch")


def load(path: str | Path, *, npu: NpuConfig | None = None) -> Session:
    """A session of an ENF file."""
    return Session(path, npu=npu)


def random_inputs(enf: Enf, seed: int) -> dict[str, Array]:
    """Seeded data for every input: uniform in [0, 1) for floats, all values for integers."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for tensor in enf.inputs:
        if tensor.dtype == "float32":
            made[tensor.name] = rng.random(tensor.shape, np.float32)
        else:
            info = np.iinfo(np.dtype(tensor.dtype))
            made[tensor.name] = rng.integers(info.min, info.max + 1, tensor.shape).astype(tensor.dtype)
    return made


def _host(segment: HostSegment) -> Any:
    """ONNX Runtime's session of a segment. Raises EnfError BadEnf: the bytes come from a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the exception
    if not segment.inputs:
        return None
    try:
        proto = onnx.ModelProto.FromString(segment.model)
        if any(external_data_helper.uses_external_data(t) for t in proto.graph.initializer):
            raise _bad_host(segment, "it takes constants from other files")
        session = onnxruntime.InferenceSession(segment.model, options, providers=["CPUExecutionProvider"])
    except EnfError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise _bad_host(segment, f"ONNX Runtime refuses it: {_first_line(error)}") from error
    for kind, names, has in (
        ("input", segment.inputs, session.get_inputs()),
        ("output", segment.outputs, session.get_outputs()),
    ):
        known = {tensor.name for tensor in has}
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            raise _bad_host(segment, f"it has no {kind} '{missing}'")
    return session


def _run_host(session: Any, segment: HostSegment, values: Mapping[str, Array]) -> dict[str, Array]:
    if session is None:
        return {}
    try:
        results = session.run(list(segment.outputs), {name: values[name] for name in segment.inputs})
    except Exception as error:  # see above
        raise _bad_host(segment, f"ONNX Runtime cannot run it: {_first_line(error)}") from error
    return dict(zip(segment.outputs, results, strict=True))


def _shaped(value: Any, name: str, dtype: str, shape: tuple[int, ...]) -> Array:
    """A tensor of the host under the shape that the file gives it. Raises EnfError BadEnf where it cannot be that."""
    array = np.asarray(value)
    if array.dtype.name != dtype or array.size != math.prod(shape):
        what = f"tensor '{name}' is {array.dtype.name}{list(array.shape)}, the file says {dtype}{list(shape)}"
        raise EnfError("BadEnf", what, hint=COMPILE_AGAIN)
    return array.reshape(shape)


def _bad_host(segment: HostSegment, what: str) -> EnfError:
    return EnfError("BadEnf", f"host segment '{segment.name}': {what}", hint=COMPILE_AGAIN)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _whole(tensor: DramTensor) -> DramWindow:
    n, c, h, _ = tensor.shape
    return DramWindow(tensor.address, tensor.order, tensor.shape, Box(0, n, 0, c, 0, h))


def _list(known: Mapping[str, ModelTensor]) -> str:
    return ", ".join(_describe(tensor) for tensor in known.values())


def _describe(tensor: ModelTensor) -> str:
    return f"'{tensor.name}' {tensor.dtype}{list(tensor.shape)}"
