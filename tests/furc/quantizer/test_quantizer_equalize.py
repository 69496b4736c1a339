"""Which channels are scaled, by how much, and that results stay the same."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import yaml
from quantizer_models import images, model, node, normal, run, silent, sqnr_db, uneven_depthwise

from furc.onnx.graph import Array, Graph
from furc.quantizer import QuantizeOptions, quantize_model
from furc.quantizer.channels.equalize import rescale
from furc.quantizer.channels.tied_channels import FIXED, find_tied
from furc.quantizer.observe.judge import Task
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.surveyed import surveyed

UNEVEN = np.geomspace(1, 300, 8, dtype=np.float32).reshape(-1, 1, 1, 1)


def evened(made: onnx.ModelProto) -> Graph:
    graph = optimize_graph(made)
    surveyed(graph, images(4), Task.NONE, silent, even=True)
    return graph


def values(graph: Graph, name: str) -> Array:
    """Of a tensor, for one image."""
    copy = graph.copied()
    copy.outputs = [name]
    copy.changed()
    return run(copy.model(), images(1)[0])[0]


def unevenness(graph: Graph, name: str) -> float:
    """The widest channel (axis 1) over the narrowest."""
    widths = np.abs(values(graph, name)).max(axis=(0, 2, 3))
    return float(widths.max() / widths.min())


def assert_same_results(graph: Graph, made: onnx.ModelProto) -> None:
    for feed in images(3):
        wanted = run(made, feed)[0]
        np.testing.assert_allclose(run(graph.model(), feed)[0], wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def shuffled() -> onnx.ModelProto:
    """An uneven branch and another that a Concat joins, a channel shuffle mixes, and slices take to two readers."""
    alternating = np.stack([UNEVEN.reshape(-1), np.ones(8, np.float32)], 1).reshape(1, 16, 1, 1)
    constants: dict[str, Array] = {
        "w1": normal(1, 8, 3, 3, 3) * UNEVEN, "b1": normal(2, 8) * UNEVEN.reshape(-1), "w2": normal(3, 8, 3, 3, 3),
        "split": np.array([1, 2, 8, 144], np.int64), "joined": np.array([1, 16, 12, 12], np.int64),
        "zero": np.array([0], np.int64), "half": np.array([8], np.int64), "all": np.array([16], np.int64),
        "one": np.array([1], np.int64),
        "w3": normal(4, 4, 8, 1, 1) / alternating[:, :8], "w4": normal(5, 4, 8, 1, 1) / alternating[:, 8:],
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w1", "b1"], "c1", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], "r1"),
        node("Conv", ["x", "w2"], "c2", pads=[1, 1, 1, 1]),
        node("Concat", ["r1", "c2"], "both", axis=1),
        node("Reshape", ["both", "split"], "apart"),
        node("Transpose", ["apart"], "mixed", perm=[0, 2, 1, 3]),
        node("Reshape", ["mixed", "joined"], "shuffled"),
        node("MaxPool", ["shuffled"], "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Slice", ["pooled", "zero", "half", "one"], "first"),
        node("Slice", ["pooled", "half", "all", "one"], "second"),
        node("Conv", ["first", "w3"], "c3"),
        node("Conv", ["second", "w4"], "c4"),
        node("Add", ["c3", "c4"], "y"),
    ]
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


def stream(gate: bool = False) -> onnx.ModelProto:
    """A residual stream of uneven channels, behind linear convolutions. gate: one operand is a SiLU."""
    constants: dict[str, Array] = {
        "w1": normal(1, 8, 3, 3, 3) * UNEVEN,
        "w2": normal(2, 8, 8, 1, 1) / UNEVEN.reshape(1, -1, 1, 1),
        "w3": normal(3, 8, 8, 1, 1) * UNEVEN,
        "w4": normal(4, 4, 8, 1, 1) / UNEVEN.reshape(1, -1, 1, 1),
    }
    silu = [node("Sigmoid", ["c3"], "gate"), node("Mul", ["c3", "gate"], "s3")] if gate else []
    nodes = [
        node("Conv", ["x", "w1"], "c1", pads=[1, 1, 1, 1]),
        node("Conv", ["c1", "w2"], "c2"),
        node("Relu", ["c2"], "r2"),
        node("Conv", ["r2", "w3"], "c3"),
        *silu,
        node("Add", ["c1", "s3" if gate else "c3"], "sum"),
        node("Conv", ["sum", "w4"], "y"),
    ]
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


def clipped(bound: float) -> onnx.ModelProto:
    constants: dict[str, Array] = {
        "w1": np.abs(normal(1, 8, 3, 1, 1)) * UNEVEN, "w2": normal(2, 4, 8, 1, 1) / UNEVEN.reshape(1, -1, 1, 1),
        "low": np.array(0, np.float32), "high": np.array(bound, np.float32),
    }  # fmt: skip
    nodes = [node("Conv", ["x", "w1"], "c"), node("Clip", ["c", "low", "high"], "r"), node("Conv", ["r", "w2"], "y")]
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


def largest_of_three() -> onnx.ModelProto:
    """As maxout has it; the convolutions are uneven in unlike ways."""
    constants: dict[str, Array] = {
        "w1": normal(1, 8, 3, 3, 3) * UNEVEN, "w2": normal(2, 8, 3, 3, 3) * UNEVEN[::-1],
        "w3": normal(3, 8, 3, 3, 3) * UNEVEN, "w4": normal(4, 4, 8, 1, 1) / UNEVEN.reshape(1, -1, 1, 1),
    }  # fmt: skip
    nodes = [node("Conv", ["x", f"w{i}"], f"c{i}", pads=[1, 1, 1, 1]) for i in (1, 2, 3)]
    nodes += [node("Max", ["c1", "c2", "c3"], "largest"), node("Conv", ["largest", "w4"], "y")]
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


def of_an_image() -> onnx.ModelProto:
    """Beside uneven maps, as uneven values of the whole image, as in pyramid pooling."""
    constants: dict[str, Array] = {
        "w1": np.abs(normal(1, 8, 3, 3, 3)) * UNEVEN,
        "w2": np.abs(normal(2, 8, 8, 1, 1)) * UNEVEN / UNEVEN.reshape(1, -1, 1, 1),
        "sizes": np.array([1, 8, 12, 12], np.int64),
        "w3": normal(3, 4, 16, 1, 1) / np.concatenate([UNEVEN, UNEVEN]).reshape(1, -1, 1, 1),
    }
    nodes = [
        node("Conv", ["x", "w1"], "c1", pads=[1, 1, 1, 1]), node("Relu", ["c1"], "r1"),
        node("GlobalAveragePool", ["r1"], "mean"), node("Conv", ["mean", "w2"], "c2"), node("Relu", ["c2"], "r2"),
        node("Resize", ["r2", "", "", "sizes"], "wide"), node("Concat", ["r1", "wide"], "both", axis=1),
        node("Conv", ["both", "w3"], "y"),
    ]  # fmt: skip
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


@pytest.mark.parametrize(
    ("made", "tensor"),
    [(uneven_depthwise(), "r1"), (shuffled(), "both"), (stream(), "sum"), (clipped(1e6), "r")],
    ids=["depthwise", "shuffle", "residual", "open clip"],
)
def test_channels_are_evened_out_and_no_result_changes(made: onnx.ModelProto, tensor: str) -> None:
    graph = evened(made)
    assert unevenness(graph, tensor) < unevenness(optimize_graph(made), tensor) / 20
    assert_same_results(graph, made)


@pytest.mark.parametrize(
    ("made", "tensor"), [(stream(gate=True), "c1"), (clipped(20.0), "c")], ids=["SiLU", "a Clip that cuts"]
)
def test_what_does_not_commute_bars_scaling(made: onnx.ModelProto, tensor: str) -> None:
    before, after = optimize_graph(made), evened(made)
    np.testing.assert_array_equal(values(after, tensor), values(before, tensor))
    assert_same_results(after, made)


def test_all_operands_of_a_maximum_are_scaled_alike() -> None:
    assert_same_results(evened(largest_of_three()), largest_of_three())


def test_channels_of_which_a_few_values_were_seen_stay() -> None:
    """One value an image: a channel that was narrow in four of them would be cut off in the fifth."""
    before, after = optimize_graph(of_an_image()), evened(of_an_image())
    assert unevenness(after, "r2") == pytest.approx(unevenness(before, "r2"), rel=1e-3)
    assert unevenness(after, "r1") < unevenness(before, "r1") / 20
    assert_same_results(after, of_an_image())


def pooled_last(beside: bool) -> onnx.ModelProto:
    """A last uneven map, of which the mean is read. beside: and the map itself, by a convolution."""
    constants: dict[str, Array] = {
        "w1": np.abs(normal(1, 8, 3, 3, 3)) * UNEVEN,
        "w2": normal(2, 5, 8, 1, 1) / UNEVEN.reshape(1, -1, 1, 1),
        "w3": normal(3, 5, 8, 1, 1) / UNEVEN.reshape(1, -1, 1, 1),
    }
    nodes = [
        node("Conv", ["x", "w1"], "c1", pads=[1, 1, 1, 1]), node("Relu", ["c1"], "r1"),
        node("GlobalAveragePool", ["r1"], "mean"), node("Conv", ["mean", "w2"], "y"), node("Conv", ["r1", "w3"], "z"),
    ]  # fmt: skip
    return model(nodes if beside else nodes[:4], {"x": (1, 3, 12, 12)}, ["y", "z"][: 1 + beside], constants)


def test_a_map_whose_noise_is_that_of_its_mean_stays() -> None:
    """A last channel that four images hardly move may be the one that says what the fifth shows."""
    for beside in (False, True):
        made = pooled_last(beside)
        before, after = unevenness(optimize_graph(made), "r1"), unevenness(evened(made), "r1")
        assert after < before / 20 if beside else after == pytest.approx(before, rel=1e-3)


def test_any_scales_of_the_classes_leave_results_as_they_are() -> None:
    made = shuffled()
    graph = optimize_graph(made)
    tied = find_tied(graph, lambda clip: False)
    scale = np.exp(np.random.default_rng(0).normal(size=tied.count))
    scale[FIXED] = 1
    rescale(graph, tied, scale)
    assert tied.count == 17 and "mixed" in tied.mixed and (tied.classes["y"] == FIXED).all()
    assert_same_results(graph, made)


@pytest.mark.parametrize("made", [uneven_depthwise(), shuffled(), stream()], ids=["depthwise", "shuffle", "residual"])
@pytest.mark.parametrize("method", ["MSE_ASYM", "weighted"])
def test_a_collapsed_network_comes_back(made: onnx.ModelProto, method: str) -> None:
    def db(equalize: bool) -> float:
        options = QuantizeOptions(method=method, equalize=equalize, split=False, bias_correction=False, task=Task.NONE)
        written = quantize_model(made, images(16), options)
        pairs = [(run(made, feed)[0], run(written, feed)[0]) for feed in images(20)[16:]]
        return sqnr_db(*(np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1)))

    assert db(equalize=True) > max(30, db(equalize=False) + 8)


def test_an_open_batch_is_no_hindrance() -> None:
    made = uneven_depthwise()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    del made.graph.value_info[:]
    graph = evened(made)
    assert unevenness(graph, "r1") < unevenness(optimize_graph(made), "r1") / 20
    assert_same_results(graph, made)


def test_a_model_that_cannot_be_surveyed_is_evened_out_by_widths() -> None:
    made = uneven_depthwise()
    made.opset_import[0].version = 11
    graph = optimize_graph(made, opset_version=11)
    assert graph.opset == 11
    surveyed(graph, images(4), Task.NONE, silent, even=True)
    assert unevenness(graph, "r1") < unevenness(optimize_graph(made), "r1") / 20
    assert_same_results(graph, made)


def test_channels_that_a_shuffle_mixes_have_the_range_of_what_was_shuffled() -> None:
    written = quantize_model(shuffled(), images(4), QuantizeOptions(form="calibrated"))
    (ranges,) = [yaml.safe_load(entry.value) for entry in written.metadata_props]
    assert ranges["mixed"] == ranges["both"], json.dumps(ranges)
