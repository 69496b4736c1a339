"""Run a quantized model on the modelled NPU as if it were a function: what accuracy is measured with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from furc.compiler import DEFAULT_TARGET, compile
from furc.runtime.session import Session

Array = NDArray[Any]
Runner = Callable[[Mapping[str, Array]], dict[str, Array]]


def npu_runner_for(model: onnx.ModelProto, target_npu: str = DEFAULT_TARGET) -> Runner:
    """A function from inputs to outputs by name: the model compiled, run on the interpreter. Raises FurcError."""
    return Session(compile(model, target_npu=target_npu, compiler_config={"use_program_loading": True})).run
