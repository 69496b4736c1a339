"""Run a quantized model on the modelled NPU as if it were a function: what accuracy is measured with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from furc.compiler import DEFAULT_TARGET, compile
from furc.runtime.session import Session

Array = NDArray[Any]
Runner = Callable[[Mapping[str, Array]], dict[str, Array]]


def npu_runner_for(model: onnx.ModelProto, target_npu: str = DEFAULT_TARGET) -> Runner:
    """A function from inputs to outputs by name: the model compiled, run on the interpreter. Raises FurcError."""
    return Session(compile(model, target_npu=target_npu, compiler_config={"use_program_loading": True})).run


class NpuRunner:
    """The same for scripts that build a runner from a path and feed its only input.

    input_shape: [n, c, h, w]; input_dtype: what the model takes. Calling gives outputs in the model's order.
    """

    def __init__(self, path: str | Path) -> None:
        self.session = Session(compile(path, compiler_config={"use_program_loading": True}))
        [tensor] = self.session.inputs
        self.name, self.input_shape, self.input_dtype = tensor.name, list(tensor.shape), np.dtype(tensor.dtype).type

    def __call__(self, x: Array) -> list[Array]:
        return list(self.session.run({self.name: x}).values())
