"""Run models as they are on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from furc.onnx.graph import Graph
from isa import ort
from isa.errors import RunError, first_line

Array = np.ndarray[Any, np.dtype[Any]]


def session(
    model: Graph | onnx.ModelProto | bytes,
    *,
    layouts: bool = True,
    integers: bool = True,
    plain: bool = False,
    threads: int = 0,
    spinning: bool = False,
    lean: bool = False,
) -> ort.Session:
    """A quiet CPU session; of a graph it shares the weights. Raises RunError[CannotRun] where ONNX Runtime refuses.

    layouts: let it choose blocked layouts and fuse; pays only where few tensors are looked at. integers: let it put
    integer kernels in place of operators between Q and DQ; to be off where scales are inputs: it then drops operators
    that only some scales make superfluous (seen with 1.31). plain: every operator just as the model has it. threads:
    0 for as many as there are cores. spinning: they wait busily, which costs processor time and pays where runs follow
    each other at once and nothing else runs. lean: see `ort.session`.
    """
    level = ort.Optimize.NONE if plain else ort.Optimize.ALL if layouts else ort.Optimize.BASIC
    light, weights = model.light_model() if isinstance(model, Graph) else (model, {})
    data = light if isinstance(light, bytes) else light.SerializeToString()
    try:
        return ort.session(
            data, optimize=level, threads=threads, spinning=spinning, integer_kernels=integers, lean=lean,
            weights=weights,
        )  # fmt: skip
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise RunError(
            "CannotRun", f"ONNX Runtime refuses the model: {first_line(error)}", hint="check it with onnx.checker"
        ) from error


def runner_for(model: onnx.ModelProto) -> RunModel:
    """Runs a model through ONNX Runtime: input arrays by name -> output arrays by name."""
    return RunModel(model)


class RunModel:
    """A model as a function from its inputs to its outputs."""

    def __init__(
        self, model: Graph | onnx.ModelProto | bytes, *, plain: bool = False, threads: int = 0, spinning: bool = True
    ) -> None:
        self._session = session(model, plain=plain, threads=threads, spinning=spinning)
        self.inputs = [i.name for i in self._session.get_inputs()]
        self.outputs = [o.name for o in self._session.get_outputs()]

    def __call__(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self.outputs, run_session(self._session, None, feed), strict=True))


def run_session(session: ort.Session, names: Sequence[str] | None, feed: Mapping[str, Array]) -> list[Array]:
    """The outputs of those names, or all of them. Raises RunError[CannotRun]."""
    try:
        return list(session.run(names, dict(feed)))
    except Exception as error:  # see above
        shapes = ", ".join(f"'{name}' {list(value.shape)}" for name, value in feed.items() if value.ndim)
        raise RunError(
            "CannotRun", f"ONNX Runtime cannot run the model on {shapes or 'its inputs'}: {first_line(error)}",
            hint="check the node it names, and that the data is what the model takes",
        ) from error  # fmt: skip
