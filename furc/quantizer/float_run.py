"""Run the float model and see every activation, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnxruntime
from onnx import TensorProto, helper

from furc.quantizer.graph import Array
from isa.errors import QuantizeError

Feed = Mapping[str, Array]


class FloatRun:
    """One session of a model that also returns the tensors in `watched`."""

    def __init__(self, model: onnx.ModelProto, watched: Sequence[str]) -> None:
        self.inputs = {i.name for i in model.graph.input}
        self._watched = list(watched)
        self._session = session(_watching(model, watched), layouts=False)

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """The watched tensors of one run, by name. Raises QuantizeError[CannotRun]."""
        prepared = {name: value for name, value in feed.items() if name in self.inputs}
        names = [name for name in self._watched if name not in prepared]
        values = run_session(self._session, names, prepared) if names else []
        found = dict(zip(names, values, strict=True))
        return {name: prepared[name] if name in prepared else found[name] for name in self._watched}


def session(model: onnx.ModelProto, *, layouts: bool = True, integers: bool = True) -> onnxruntime.InferenceSession:
    """A quiet CPU session. Raises QuantizeError[CannotRun] where ONNX Runtime refuses the model.

    layouts: let it choose blocked layouts and fuse; pays only where few tensors are looked at. integers: let it put
    integer kernels in place of operators between Q and DQ; to be off where scales are inputs: it then drops operators
    that only some scales make superfluous (seen with 1.31).
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not layouts:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the other core counts meanwhile
    if not integers:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see above
        raise QuantizeError("CannotRun", f"ONNX Runtime refuses the model: {_text(error)}") from error


def runner_for(model: onnx.ModelProto) -> RunModel:
    """Runs a model through ONNX Runtime: input arrays by name -> output arrays by name."""
    return RunModel(model)


class RunModel:
    """A model as a function from its inputs to its outputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = session(model)
        self._outputs = [o.name for o in self._session.get_outputs()]

    def __call__(self, feed: Feed) -> dict[str, Array]:
        values = run_session(self._session, None, feed)
        return dict(zip(self._outputs, values, strict=True))


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


def run_session(
    session: onnxruntime.InferenceSession, names: Sequence[str] | None, feed: Mapping[str, Array]
) -> list[Array]:
    """The outputs of those names, or all of them. Raises QuantizeError[CannotRun]."""
    try:
        return list(session.run(names, dict(feed)))
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        shapes = ", ".join(f"'{name}' {list(value.shape)}" for name, value in feed.items() if value.ndim)
        raise QuantizeError(
            "CannotRun", f"ONNX Runtime cannot run the model on {shapes or 'its inputs'}: {_text(error)}",
            hint="check the node it names, and that the data is what the model takes",
        ) from error  # fmt: skip


def _text(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
