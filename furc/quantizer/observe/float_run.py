"""Run the float model and see every activation, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import onnx
from onnx import helper, numpy_helper

from furc.onnx.graph import Array, Graph, Node
from furc.onnx.run import run_session, session

Feed = Mapping[str, Array]
OLD_ENOUGH = 7  # an IR version that every reader of opset 13 knows


class FloatRun:
    """One session of a graph that returns the tensors in `watched`. layouts: see `session`."""

    def __init__(self, graph: Graph, watched: Sequence[str], *, layouts: bool = False) -> None:
        self.inputs = set(graph.inputs)
        self._watched = list(watched)
        self._session = session(_watching(graph, watched), layouts=layouts)

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """The watched tensors of one run, by name. Raises RunError[CannotRun]."""
        prepared = {name: value for name, value in feed.items() if name in self.inputs}
        names = [name for name in self._watched if name not in prepared]
        values = run_session(self._session, names, prepared) if names else []
        found = dict(zip(names, values, strict=True))
        return {name: prepared[name] if name in prepared else found[name] for name in self._watched}


class NodeRun:
    """One node as a function of its first input; the others are constants of the graph."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self._node, self._opset = node, graph.opset
        self._constants = [numpy_helper.from_array(graph.constants[name], name) for name in node.inputs[1:] if name]
        self._sessions = dict[tuple[Any, int], Any]()  # by element type and rank

    def __call__(self, value: Array) -> Array:
        """Its first result. Raises RunError[CannotRun]."""
        kind = value.dtype, value.ndim
        if kind not in self._sessions:
            self._sessions[kind] = _small_session(self._model(value).SerializeToString(deterministic=True))
        result: Array = run_session(self._sessions[kind], ["result"], {"value": value})[0]
        return result

    def _model(self, value: Array) -> onnx.ModelProto:
        node, element = self._node, helper.np_dtype_to_tensor_dtype(value.dtype)
        part = helper.make_model(
            helper.make_graph(
                [helper.make_node(node.op, ["value", *node.inputs[1:]], ["result", *node.outputs[1:]])],
                "node",
                [helper.make_tensor_value_info("value", element, [None] * value.ndim)],
                [helper.make_tensor_value_info("result", element, None)],
                self._constants,
            ),
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=OLD_ENOUGH,
        )
        part.graph.node[0].attribute.extend(node.attributes.values())
        return part


@lru_cache(256)
def _small_session(model: bytes) -> Any:
    return session(model)


def _watching(graph: Graph, watched: Sequence[str]) -> Graph:
    """The graph with the watched tensors as its outputs; nodes that only others need are not run."""
    copy = graph.copied()
    copy.outputs = [name for name in watched if name not in graph.inputs] or list(graph.outputs)
    copy.remove_dead()
    return copy
