"""Small ONNX models for the quantizer's tests, drawn with onnx.helper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from furc.onnx.graph import Array, Graph
from furc.quantizer.observe.judge import Judge
from furc.quantizer.observe.one_pass import OnePass
from furc.quantizer.ranges.weighted_calibration import seen_tensors
from furc.quantizer.sensitivity.gains import Channels, gains
from furc.quantizer.surveyed import surveyed_tensors


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: dict[str, Array],
    opset: int = 13,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    return onnx.shape_inference.infer_shapes(made)


def node(op: str, inputs: Sequence[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], name=f"{output}_node", **attributes)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def image(seed: int = 0, shape: Sequence[int] = (1, 3, 12, 12)) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).random(tuple(shape), dtype=np.float32)}


def images(count: int, shape: Sequence[int] = (1, 3, 12, 12)) -> list[dict[str, Array]]:
    return [image(seed, shape) for seed in range(count)]


def run(made: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    found: list[Array] = onnxruntime.InferenceSession(made.SerializeToString(), options).run(None, feed)
    return found


def residual() -> onnx.ModelProto:
    """conv-relu, depthwise-clip, pointwise, add, silu, pools, concat, gemm, softmax: the usual CNN in small."""
    constants: dict[str, Array] = {
        "w1": normal(1, 8, 3, 3, 3) * 0.3, "b1": normal(2, 8) * 0.1,
        "w2": normal(3, 8, 1, 3, 3) * 0.3, "b2": normal(4, 8) * 0.1,
        "w3": normal(5, 8, 8, 1, 1) * 0.3,
        "low": np.array(0, np.float32), "high": np.array(6, np.float32),
        "w4": normal(6, 16, 5) * 0.3, "b4": normal(7, 5) * 0.1,
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w1", "b1"], "c1", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], "r1"),
        node("Conv", ["r1", "w2", "b2"], "c2", pads=[1, 1, 1, 1], group=8),
        node("Clip", ["c2", "low", "high"], "r2"),
        node("Conv", ["r2", "w3"], "c3"),
        node("Add", ["c3", "r1"], "sum"),
        node("Sigmoid", ["sum"], "gate"),
        node("Mul", ["sum", "gate"], "silu"),
        node("MaxPool", ["silu"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", ["silu"], "mean", kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", ["pool", "mean"], "both", axis=1),
        node("GlobalAveragePool", ["both"], "global"),
        node("Flatten", ["global"], "flat"),
        node("Gemm", ["flat", "w4", "b4"], "logits"),
        node("Softmax", ["logits"], "y", axis=1),
    ]
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


def uneven_depthwise(ratio: float = 300.0) -> onnx.ModelProto:
    """Conv-Relu-depthwise-Relu-Conv whose inner channels differ in magnitude by up to `ratio`."""
    factor = np.geomspace(1 / ratio, 1.0, 8, dtype=np.float32)
    w1, w2, w3 = normal(1, 8, 3, 3, 3) * 0.3, normal(3, 8, 1, 3, 3) * 0.4, normal(5, 4, 8, 1, 1) * 0.4
    constants = {
        "w1": w1 * factor[:, None, None, None], "b1": normal(2, 8) * 0.1 * factor,
        "w2": w2, "b2": normal(4, 8) * 0.1 * factor,
        "w3": w3 / factor[None, :, None, None], "b3": normal(6, 4) * 0.1,
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w1", "b1"], "c1", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], "r1"),
        node("Conv", ["r1", "w2", "b2"], "c2", pads=[1, 1, 1, 1], group=8),
        node("Relu", ["c2"], "r2"),
        node("Conv", ["r2", "w3", "b3"], "y"),
    ]
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


def sqnr_db(exact: Array, found: Array) -> float:
    error = float(((exact - found) ** 2).sum())
    return 10 * float(np.log10(float((exact**2).sum()) / max(error, 1e-30)))


def all_surveyed(graph: Graph, feeds: list[dict[str, Array]]) -> dict[str, Channels]:
    """What is known of all tensors where every sample is probed and nothing stands behind the outputs."""
    looking = OnePass(graph, seen_tensors(graph), samples=len(feeds), kept=len(feeds))
    for feed in feeds:
        looking.look(feed)
    seen = looking.found()
    gain = gains(graph, surveyed_tensors(graph), feeds, Judge({}), looking.outputs)
    unknown = {name: np.zeros(len(of.low)) for name, of in seen.items()}
    return {name: Channels(of.low, of.high, gain.get(name, unknown[name]), of) for name, of in seen.items()}


def silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody asks for."""
