"""Run the float model and see every activation, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from furc.quantizer.graph import Array, Graph, Node
from isa.errors import QuantizeError

Feed = Mapping[str, Array]
OLD_ENOUGH = 7  # an IR version that every reader of opset 13 knows


class FloatRun:
    """One session of a model that also returns the tensors in `watched`. layouts: see `session`."""

    def __init__(self, model: onnx.ModelProto, watched: Sequence[str], *, layouts: bool = False) -> None:
        self.inputs = [i.name for i in model.graph.input if i.name not in {c.name for c in model.graph.initializer}]
        self._types = {i.name: _dtype(i) for i in model.graph.input}
        self._watched = list(watched)
        self._session = session(_watching(model, watched), layouts=layouts)

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """The watched tensors of one run, by name. Raises QuantizeError[BadCalibrationData]."""
        prepared = {name: np.asarray(value, self._types[name]) for name, value in feed.items() if name in self._types}
        names = [name for name in self._watched if name not in prepared]
        try:
            values = self._session.run(names, prepared) if names else []
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in prepared.items())
            raise QuantizeError("BadCalibrationData", f"the model does not take {shapes}: {_text(error)}") from error
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


def run_node(graph: Graph, node: Node, value: Array) -> Array:
    """The first result of one node whose first input is `value` and whose others are constants of the graph."""
    part = helper.make_model(
        helper.make_graph(
            [helper.make_node(node.op, ["value", *node.inputs[1:]], ["result", *node.outputs[1:]])],
            "node",
            [helper.make_tensor_value_info("value", helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)],
            [helper.make_tensor_value_info("result", helper.np_dtype_to_tensor_dtype(value.dtype), None)],
            [numpy_helper.from_array(graph.constants[name], name) for name in node.inputs[1:] if name],
        ),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=OLD_ENOUGH,
    )
    part.graph.node[0].attribute.extend(node.attributes.values())
    result: Array = _small_session(part.SerializeToString(deterministic=True)).run(["result"], {"value": value})[0]
    return result


@lru_cache(256)
def _small_session(model: bytes) -> onnxruntime.InferenceSession:
    return session(onnx.load_model_from_string(model))


class RunModel:
    """A model as a function from its inputs to its outputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = session(model)
        self._outputs = [o.name for o in self._session.get_outputs()]

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(None, dict(feed)), strict=True))


def feeds(names: Sequence[str], data: object) -> Iterator[dict[str, Array]]:
    """Samples as dicts by input name. data: arrays (one input), sequences of arrays in input order, or dicts.

    Raises QuantizeError[BadCalibrationData] for another number or other names of inputs.
    """
    for index, sample in enumerate(data):  # type: ignore[arg-type,var-annotated]
        yield _feed(names, sample, index)


def _feed(names: Sequence[str], sample: object, index: int) -> dict[str, Array]:
    if isinstance(sample, Mapping):
        found = {str(name): np.asarray(value) for name, value in sample.items()}
        if set(found) != set(names):
            raise _wrong(index, f"has the inputs {', '.join(sorted(found))}", names)
        return found
    arrays = [sample] if isinstance(sample, np.ndarray) else list(sample)  # type: ignore[call-overload]
    if len(arrays) != len(names):
        raise _wrong(index, f"has {len(arrays)} arrays", names)
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


def _wrong(index: int, what: str, names: Sequence[str]) -> QuantizeError:
    return QuantizeError("BadCalibrationData", f"sample {index} {what}, the model takes {', '.join(names)}")


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


def _dtype(info: onnx.ValueInfoProto) -> np.dtype[np.generic]:
    kind: np.dtype[np.generic] = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    return kind


def _text(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
