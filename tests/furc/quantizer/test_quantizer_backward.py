"""Gradients against difference quotients, and what the survey makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from quantizer_models import all_surveyed, images, model, node, normal, residual, run

from furc.onnx.graph import Graph, make
from furc.onnx.run import RunModel, session
from furc.quantizer import QuantizeOptions, quantize_model
from furc.quantizer.grids.operators import QUANTIZED
from furc.quantizer.observe.judge import Judge, Task, judge_for
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.sensitivity.backward import gradients
from furc.quantizer.sensitivity.gains import gains
from furc.quantizer.sensitivity.gradient_rules import RULES
from isa.errors import RunError

SHAPE = (1, 3, 12, 12)
INTS = {"starts": np.array([1, 2]), "ends": np.array([11, 12]), "axes": np.array([2, 3]), "steps": np.array([2, 2])}
ONE_NODE: dict[str, tuple[onnx.NodeProto, dict[str, Any]]] = {
    "conv, strided": (node("Conv", ["x", "w"], "y", strides=[2, 2], pads=[1, 1, 1, 1]), {"w": normal(1, 4, 3, 3, 3)}),
    "conv, padded": (node("Conv", ["x", "w"], "y", pads=[1, 1, 1, 1]), {"w": normal(1, 4, 3, 3, 3)}),
    "depthwise, dilated": (node("Conv", ["x", "w"], "y", group=3, dilations=[2, 2]), {"w": normal(1, 3, 1, 3, 3)}),
    "depthwise with stride": (node("Conv", ["x", "w"], "y", group=3, strides=[2, 2]), {"w": normal(1, 3, 1, 2, 2)}),
    "same upper": (node("Conv", ["x", "w"], "y", auto_pad="SAME_UPPER", strides=[2, 2]), {"w": normal(1, 4, 3, 3, 3)}),
    "transposed": (node("ConvTranspose", ["x", "w"], "y", strides=[2, 2], pads=[1, 1, 1, 1]),
                   {"w": normal(1, 3, 2, 4, 4)}),
    "relu": (node("Relu", ["x"], "y"), {}),
    "clip": (node("Clip", ["x", "low", "high"], "y"), {"low": np.float32(0.2), "high": np.float32(0.7)}),
    "leaky": (node("LeakyRelu", ["x"], "y", alpha=0.1), {}),
    "sigmoid": (node("Sigmoid", ["x"], "y"), {}),
    "tanh": (node("Tanh", ["x"], "y"), {}),
    "softmax": (node("Softmax", ["x"], "y", axis=1), {}),
    "l2 normalize": (node("LpNormalization", ["x"], "y", axis=1), {}),
    "instance norm": (node("InstanceNormalization", ["x", "w", "b"], "y"), {"w": normal(1, 3), "b": normal(2, 3)}),
    "sqrt": (node("Sqrt", ["x"], "y"), {}),
    "power": (node("Pow", ["x", "p"], "y"), {"p": np.float32(3)}),
    "broadcast mul": (node("Mul", ["x", "c"], "y"), {"c": normal(1, 3, 1, 1)}),
    "square": (node("Mul", ["x", "x"], "y"), {}),
    "max pool": (node("MaxPool", ["x"], "y", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]), {}),
    "average pool": (node("AveragePool", ["x"], "y", kernel_shape=[2, 2], strides=[2, 2]), {}),
    "global average": (node("GlobalAveragePool", ["x"], "y"), {}),
    "mean": (node("ReduceMean", ["x"], "y", axes=[2], keepdims=0), {}),
    "length": (node("ReduceL2", ["x"], "y", axes=[1], keepdims=0), {}),
    "lengths": (node("ReduceL2", ["x"], "y", axes=[-1, 2]), {}),
    "mean of several": (node("Mean", ["c", "x", "x", "d"], "y"), {"c": normal(1, 3, 1, 1), "d": normal(2, 12)}),
    "sum of several": (node("Sum", ["c", "x", "x"], "y"), {"c": normal(1, 2, 3, 1, 1)}),
    "reshape": (node("Reshape", ["x", "s"], "y"), {"s": np.array([3, -1])}),
    "transpose": (node("Transpose", ["x"], "y", perm=[0, 2, 3, 1]), {}),
    "slice with steps": (node("Slice", ["x", "starts", "ends", "axes", "steps"], "y"), INTS),
    "pad": (node("Pad", ["x", "p"], "y"), {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1])}),
    "concat": (node("Concat", ["x", "x"], "y", axis=1), {}),
    "space to depth": (node("SpaceToDepth", ["x"], "y", blocksize=2), {}),
    "upsample": (node("Resize", ["x", "", "r"], "y", mode="nearest", coordinate_transformation_mode="asymmetric",
                      nearest_mode="floor"), {"r": np.array([1, 1, 2, 2], np.float32)}),
}  # fmt: skip


def gradient_of(made: onnx.ModelProto, output: str, seed: np.ndarray, feed: dict[str, np.ndarray]) -> np.ndarray:
    graph = Graph(made)
    copy, made_by = gradients(graph, [output], ["x"])
    copy.outputs = [made_by["x"]]
    proto = copy.model()
    proto.opset_import[0].version = 16
    found: np.ndarray = session(proto).run(None, {**feed, f"{output}/seed": seed})[0]
    return found


@pytest.mark.parametrize("name", ONE_NODE)
def test_gradients_are_difference_quotients(name: str) -> None:
    step, constants = ONE_NODE[name]
    made = optimize_graph(model([step], {"x": SHAPE}, ["y"], constants)).model()
    model_run, random = RunModel(made), np.random.default_rng(0)
    x = random.uniform(0.05, 1, SHAPE).astype(np.float32)
    seed = np.asarray(random.normal(size=model_run({"x": x})["y"].shape), np.float32)
    found = gradient_of(made, "y", seed, {"x": x})
    for _ in range(5):
        at = tuple(random.integers(0, n) for n in SHAPE)
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += sign * 2e-3
            ends.append(float((model_run({"x": moved})["y"].astype(np.float64) * seed).sum()))
        assert found[at] == pytest.approx((ends[0] - ends[1]) / 4e-3, abs=2e-2, rel=2e-2)


@pytest.mark.parametrize("axis", [-1, 2])
def test_gradient_of_a_layer_norm(axis: int) -> None:
    """Of opset 17, which `model` does not make."""
    random, x = np.random.default_rng(0), normal(3, 2, 3, 4, 5)
    scale, seed = normal(1, *x.shape[axis:]), normal(2, *x.shape)
    made = model([node("LayerNormalization", ["x", "w"], "y", axis=axis)], {"x": x.shape}, ["y"], {"w": scale})
    made.opset_import[0].version = 17
    graph = Graph(made)
    graph.infer()
    copy, made_by = gradients(graph, ["y"], ["x"])
    copy.outputs = [made_by["x"]]
    found: np.ndarray = session(copy.model()).run(None, {"x": x, "y/seed": seed})[0]
    run_model = RunModel(made)
    for _ in range(5):
        at = tuple(random.integers(0, n) for n in x.shape)
        moved = np.zeros_like(x)
        moved[at] = 2e-3
        ends = [float((run_model({"x": x + d})["y"].astype(np.float64) * seed).sum()) for d in (moved, -moved)]
        assert found[at] == pytest.approx((ends[0] - ends[1]) / 4e-3, abs=2e-2, rel=2e-2)


def test_all_operators_that_compute_in_int8_have_a_gradient() -> None:
    others = {"Split", "GlobalMaxPool", "ReduceMax"}  # backward.py has the first, the rest are optimized to max pools
    assert others == QUANTIZED - RULES.keys()


def test_gains_tell_the_noise_at_the_output() -> None:
    graph = optimize_graph(residual())
    feeds = images(64)
    tensors = all_surveyed(graph, feeds)
    exact, random = RunModel(graph.model()), np.random.default_rng(1)
    noisy = graph.copied()
    for reader in noisy.readers("silu"):
        reader.inputs = ["with_noise" if name == "silu" else name for name in reader.inputs]
    noisy.inputs.append("noise")
    noisy.set_info(onnx.helper.make_tensor_value_info("noise", 1, graph.shape("silu")))
    noisy.changed()
    noisy.insert_before(noisy.readers("with_noise")[0], [make("Add", ["silu", "noise"], ["with_noise"])])
    noisy_run, signal, error = RunModel(noisy.model()), 0.0, 0.0
    for feed in feeds * 2:
        added = (random.normal(size=graph.shape("silu") or ()) * 1e-2).astype(np.float32)
        y = exact(feed)["y"]
        signal, error = (
            signal + float((y**2).sum()),
            error + float(((noisy_run({**feed, "noise": added})["y"] - y) ** 2).sum()),
        )
    assert tensors["silu"].gain.sum() * 1e-4 == pytest.approx(error / signal, rel=0.35)
    assert tensors["r1"].low.min() >= 0


def test_the_judge_puts_a_sigmoid_behind_maps_of_logits_alone() -> None:
    conv = node("Conv", ["x", "w"], "y")
    logits = optimize_graph(model([conv], {"x": SHAPE}, ["y"], {"w": normal(1, 4, 3, 1, 1)}))
    depths = optimize_graph(model([conv], {"x": SHAPE}, ["y"], {"w": np.full((4, 3, 1, 1), 40, np.float32)}))
    ended = optimize_graph(
        model([conv, node("Sigmoid", ["y"], "z")], {"x": SHAPE}, ["z"], {"w": normal(1, 4, 3, 1, 1)})
    )
    assert judge_for(logits, images(1)).behind == {"y": "Sigmoid"}
    assert judge_for(depths, images(1)).behind == judge_for(ended, images(1)).behind == {}
    assert judge_for(optimize_graph(residual()), images(1), Task.DETECT).behind == {}
    assert judge_for(logits, images(1), Task.CLASSIFY).behind == {"y": "Softmax"}


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("axes", [[0, 1, 2, 3], [0, 2, 3]])
def test_outputs_of_no_axis_and_of_one_are_judged(task: Task, axes: list[int]) -> None:
    """A number has no second axis to take the softmax over, and NumPy's functions make no array of it."""
    nodes = [node("Conv", ["x", "w"], "c"), node("ReduceMean", ["c"], "y", axes=axes, keepdims=0)]
    made = model(nodes, {"x": SHAPE}, ["y"], {"w": normal(1, 4, 3, 1, 1)})
    assert run(quantize_model(made, images(4), QuantizeOptions(task=task)), images(1)[0])[0].ndim == 4 - len(axes)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_models_of_every_opset_quantize_with_or_without_a_survey(opset: int) -> None:
    written = quantize_model(residual(), images(4), QuantizeOptions(opset=opset))
    assert run(written, images(1)[0])[0].shape == (1, 5)


def test_a_model_whose_outputs_depend_on_no_image_quantizes_without_a_survey() -> None:
    made = model([node("Relu", ["x"], "r"), node("Shape", ["r"], "y")], {"x": SHAPE}, ["y"], {})
    assert gains(optimize_graph(residual()), [], images(2), Judge({}), []) == {}
    with pytest.raises(RunError):
        quantize_model(made, images(2), QuantizeOptions())


@pytest.mark.parametrize("steep", [node("Pow", ["r", "two"], "s"), node("Sqrt", ["r"], "s")])
def test_what_is_0_behind_a_relu_has_a_gradient(steep: onnx.NodeProto) -> None:
    """As in StarReLU, where 0 / 0 made all gains before it NaN, and choosing ranges an IndexError."""
    constants = {"w": normal(1, 4, 3, 3, 3), "v": normal(2, 4, 4, 1, 1), "two": np.array(2, np.float32)}
    nodes = [node("Conv", ["x", "w"], "c"), node("Relu", ["c"], "r"), steep, node("Conv", ["s", "v"], "y")]
    made = model(nodes, {"x": SHAPE}, ["y"], constants)
    tensors = all_surveyed(optimize_graph(made), images(4))
    assert all(of.gain.any() and np.isfinite(of.gain).all() for name, of in tensors.items() if name != "x")
    assert run(quantize_model(made, images(4), QuantizeOptions()), images(1)[0])[0].shape == (1, 4, 10, 10)


def test_gradients_that_overflow_are_no_gains() -> None:
    constants = {"w": np.full((4, 3, 1, 1), 1e-30, np.float32), "v": np.full((4, 4, 1, 1), 1e30, np.float32)}
    nodes = [node("Conv", ["x", "w"], "c"), node("Conv", ["c", "v"], "y")]
    graph = optimize_graph(model(nodes, {"x": SHAPE}, ["y"], constants))
    with pytest.raises(RunError, match="overflow"):
        gains(graph, ["c"], images(2), Judge({}), [{"y": np.full((1, 4, 12, 12), 1e-12, np.float32)}])
