"""Run the float model and see every activation, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from furc.onnx.graph import Array, Graph, Node
from furc.onnx.run import run_session, session

Feed = Mapping[str, Array]
OLD_ENOUGH = 7  # an IR version that every reader of opset 13 knows


class FloatRun:
    """One session of a model that also returns the tensors in `watched`. layouts: see `session`."""

    def __init__(self, model: onnx.ModelProto, watched: Sequence[str], *, layouts: bool = False) -> None:
        self.inputs = {i.name for i in model.graph.input}
        self._watched = list(watched)
        self._session = session(_watching(model, watched), layouts=layouts)

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """The watched tensors of one run, by name. Raises RunError[CannotRun]."""
        prepared = {name: value for name, value in feed.items() if name in self.inputs}
        names = [name for name in self._watched if name not in prepared]
        values = run_session(self._session, names, prepared) if names else []
        found = dict(zip(names, values, strict=True))
        return {name: prepared[name] if name in prepared else found[name] for name in self._watched}


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
    result: Array = run_session(
        _small_session(part.SerializeToString(deterministic=True)), ["result"], {"value": value}
    )[0]
    return result


@lru_cache(256)
def _small_session(model: bytes) -> Any:
    return session(model)


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
