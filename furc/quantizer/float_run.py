"""Run the float model and see every activation, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto, helper

from furc.onnx.graph import Array
from furc.onnx.run import run_session, session

Feed = Mapping[str, Array]


class FloatRun:
    """One session of a model that also returns the tensors in `watched`."""

    def __init__(self, model: onnx.ModelProto, watched: Sequence[str]) -> None:
        self.inputs = {i.name for i in model.graph.input}
        self._watched = list(watched)
        self._session = session(_watching(model, watched), layouts=False)

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """The watched tensors of one run, by name. Raises RunError[CannotRun]."""
        prepared = {name: value for name, value in feed.items() if name in self.inputs}
        names = [name for name in self._watched if name not in prepared]
        values = run_session(self._session, names, prepared) if names else []
        found = dict(zip(names, values, strict=True))
        return {name: prepared[name] if name in prepared else found[name] for name in self._watched}


def _watching(model: onnx.ModelProto, watched: Sequence[str]) -> onnx.ModelProto:
    """The model with the watched tensors as its outputs; nodes that only others need are not run."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    infos = {i.name: i for i in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    del copy.graph.output[:]
    inputs = {i.name for i in model.graph.input}
    wanted = [name for name in watched if name not in inputs] or [o.name for o in model.graph.output]
    copy.graph.output.extend(
        infos.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted
    )
    return copy
