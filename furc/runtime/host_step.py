"""A host step on ONNX Runtime. Its bytes come from a file: whatever is wrong with them is an EnfError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import ort
from isa.enf import COMPILE_AGAIN, HostStep
from isa.errors import EnfError, first_line

Array = NDArray[Any]


class HostRunner:
    """A step made ready for many runs."""

    def __init__(self, step: HostStep, optimize: ort.Optimize = ort.Optimize.ALL) -> None:
        """step: of a file that `check_host_models` has passed. Raises EnfError BadEnf where ONNX Runtime refuses it."""
        self.step = step
        try:
            self._session = ort.session(step.model, optimize=optimize, integer_kernels=False)
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise self._bad(f"ONNX Runtime refuses it: {first_line(error)}") from error
        for kind, names, has in (
            ("input", step.inputs, self._session.get_inputs()),
            ("output", step.outputs, self._session.get_outputs()),
        ):
            known = {tensor.name for tensor in has}
            missing = next((name for name in names if name not in known), None)
            if missing is not None:
                raise self._bad(f"it has no {kind} '{missing}'")

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The step's outputs by name. values: among others its inputs."""
        step = self.step
        feeds = {name: np.asarray(values[name]) for name in step.inputs}
        if step.images == 1:
            return dict(zip(step.outputs, self.run_one(feeds), strict=True))
        for name, value in feeds.items():
            if not value.ndim or value.shape[0] < step.images or value.shape[0] % step.images:
                raise self._bad(f"'{name}' {list(value.shape)} cannot be cut into {step.images} images")
        cut = {name: np.split(value, step.images) for name, value in feeds.items()}
        parts = [self.run_one({name: pieces[i] for name, pieces in cut.items()}) for i in range(step.images)]
        if any(not np.ndim(value) for value in parts[0]):
            raise self._bad("a result without axes cannot be joined from several images")
        return {
            name: np.concatenate(pieces) for name, pieces in zip(step.outputs, zip(*parts, strict=True), strict=True)
        }

    def run_one(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The outputs of one image. Raises EnfError BadEnf where ONNX Runtime cannot."""
        try:
            results: list[Array] = self._session.run(list(self.step.outputs), feeds)
        except Exception as error:  # see above
            raise self._bad(f"ONNX Runtime cannot run it: {first_line(error)}") from error
        return results

    def _bad(self, what: str) -> EnfError:
        return EnfError("BadEnf", f"host step '{self.step.name}': {what}", hint=COMPILE_AGAIN)
