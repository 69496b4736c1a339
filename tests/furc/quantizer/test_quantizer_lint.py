"""Warnings by consequence, and layers kept in float."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
from quantizer_models import images, model, node, normal, run
from test_quantizer_split import hard_silu

from furc.compiler import compile
from furc.onnx.graph import Graph
from furc.profiling.profile import profile
from furc.quantizer import LayerSqnr, LintWarning, Observer, QuantizeOptions, grouped, lint, quantize_explained
from furc.quantizer.noise.findings import costly_layers
from furc.quantizer.noise.keep_float import island, keep_float
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.reports.report import ranges_in
from isa.errors import QuantizeError


def test_the_layer_that_costs_most_is_named_with_its_channels_and_what_helps() -> None:
    outcome = quantize_explained(hard_silu(), images(16), QuantizeOptions(split=False))
    first, *rest = outcome.findings()
    assert first.name == "OutputNoise" and first.message.startswith("u_node: rounding 'a' to steps of ")
    assert "--split: splitting u_node into " in first.hint and "--keep-float u_node" in first.hint
    assert len({warning.tensor for warning in rest}) == len(rest) < 10


def test_what_was_split_is_told_and_not_warned_about() -> None:
    outcome = quantize_explained(hard_silu(), images(16), QuantizeOptions())
    assert str(outcome.splits[0]).startswith("splitting u_node into ")
    assert all(not warning.message.startswith("u_node:") for warning in outcome.findings())


def test_pixels_that_the_first_layer_expects_raw_are_no_fault() -> None:
    constants = {"w": normal(1, 4, 3, 3, 3) / 100, "b": normal(2, 4)}
    graph = optimize_graph(model([node("Conv", ["x", "w", "b"], "y")], {"x": (1, 3, 12, 12)}, ["y"], constants))
    raw = [{"x": feed["x"] * 255} for feed in images(16)]
    observer = Observer(graph, only=graph.inputs)
    observer.observe(raw)
    assert lint(observer, samples=raw[:2], noise=[]) == []
    wants_small = optimize_graph(
        model(
            [node("Conv", ["x", "w", "b"], "y")], {"x": (1, 3, 12, 12)}, ["y"], {**constants, "w": constants["w"] * 100}
        )
    )
    observer = Observer(wants_small, only=graph.inputs)
    observer.observe(raw)
    assert [warning.name for warning in lint(observer, samples=raw[:2], noise=[])] == ["NotNormalized"]
    divided = [{"x": np.abs(feed["x"]) / np.abs(feed["x"]).max()} for feed in images(16)]
    for wants, names in ((graph, ["DividedPixels"]), (wants_small, [])):
        observer = Observer(wants, only=wants.inputs)
        observer.observe(divided)
        assert [warning.name for warning in lint(observer, samples=divided[:2], noise=[])] == names


def _head(boxes: float, *layers: onnx.NodeProto) -> Graph:
    """Boxes of 0 to `boxes` and scores of 0 to 1, joined; `layers` read what they are joined to, 'y'."""
    nodes = [
        node("Conv", ["x", "w"], "c"), node("Sigmoid", ["c"], "score"), node("Mul", ["score", "size"], "box"),
        node("Concat", ["box", "score"], "y", axis=1), *layers,
    ]  # fmt: skip
    constants = {"w": normal(1, 4, 3, 1, 1), "v": normal(2, 4, 8, 1, 1), "size": np.array(boxes, np.float32)}
    return optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, [nodes[-1].output[0]], constants))


def _lost(graph: Graph) -> list[str]:
    observer = Observer(graph, only=graph.inputs)
    observer.observe(images(16))
    return [str(warning) for warning in lint(observer, samples=images(2), noise=[])]


def test_scores_that_the_scale_of_boxes_leaves_nothing_of() -> None:
    (warning,) = _lost(_head(640.0))
    assert warning.startswith("warning[LostInConcat]: y_node joins 'score', 0 to ")
    assert "leaves the former 0.4 of 255 steps" in warning and "`furc advise`" in warning
    assert _lost(_head(640.0, node("Transpose", ["y"], "z", perm=[0, 2, 3, 1]))) == [warning]
    assert _lost(_head(8.0)) == []


def test_parts_that_a_layer_weighs_or_that_stay_in_float_are_not_lost() -> None:
    assert _lost(_head(640.0, node("Conv", ["y", "v"], "z"))) == []
    graph = _head(640.0)
    keep_float(graph, ["y_node"])
    assert _lost(graph) == []


def test_ten_findings_are_the_most() -> None:
    names = [f"c{i}" for i in range(14)]
    nodes = [node("Conv", ["x", "w"], name) for name in names]
    nodes.append(node("Concat", names, "y", axis=1))
    constants = {"w": normal(1, 4, 3, 1, 1)}
    observer = Observer(optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)))
    observer.observe(images(3))
    assert len(lint(observer, layers=[LayerSqnr(name, "Conv", 4.25) for name in names])) == 10


def test_layers_kept_in_float_have_no_grids_between_them() -> None:
    options = QuantizeOptions(split=False, keep_float=("u_node", "d_node"))
    outcome = quantize_explained(hard_silu(), images(16), options)
    assert not {"u", "a", "d"} & set(ranges_in(outcome.model)) and {"e", "f"} <= set(ranges_in(outcome.model))
    (conv,) = [n for n in outcome.model.graph.node if n.name == "u_node"]
    assert conv.input[1] == "w1"

    def error(written: QuantizeOptions) -> float:
        made = quantize_explained(hard_silu(), images(16), written).model
        return float(np.mean([np.square(run(made, f)[0] - run(hard_silu(), f)[0]).mean() for f in images(3)]))

    assert error(options) < error(QuantizeOptions(split=False)) / 4


def test_a_layer_in_the_middle_stays_in_float_with_every_option_on() -> None:
    options = QuantizeOptions(keep_float=("d_node",), adaround=True)
    written = quantize_explained(hard_silu(), images(8), options).model
    (conv,) = [n for n in written.graph.node if n.name == "d_node"]
    weights = {i.name for i in written.graph.initializer}
    assert conv.input[1] in weights and conv.input[2] in weights
    run(written, images(1)[0])


def test_a_pattern_names_layers_and_an_unknown_layer_is_refused() -> None:
    outcome = quantize_explained(hard_silu(), images(4), QuantizeOptions(split=False, keep_float=("*_node",)[:0]))
    assert Graph(outcome.model).metadata == {}
    with pytest.raises(QuantizeError) as caught:
        quantize_explained(hard_silu(), images(4), QuantizeOptions(keep_float=("u_nod",)))
    assert caught.value.name == "UnknownLayer" and "u_node" in str(caught.value.hint)


def focus() -> onnx.ModelProto:
    """Slices and a Concat in front of a stem, a movement behind the last layer."""
    ends = {"even": np.array([0]), "odd": np.array([1]), "far": np.array([999]), "axis": np.array([2]),
            "two": np.array([2])}  # fmt: skip
    constants = {"w1": normal(1, 8, 6, 3, 3), "w2": normal(2, 8, 8, 3, 3), "w3": normal(3, 4, 8, 1, 1)}
    nodes = [
        node("Slice", ["x", "even", "far", "axis", "two"], "upper"),
        node("Slice", ["x", "odd", "far", "axis", "two"], "lower"),
        node("Concat", ["upper", "lower"], "both", axis=1),
        node("Conv", ["both", "w1"], "stem"), node("Relu", ["stem"], "a"),
        node("Conv", ["a", "w2"], "b"), node("Relu", ["b"], "c"),
        node("Conv", ["c", "w3"], "head"), node("Transpose", ["head"], "y", perm=[0, 2, 3, 1]),
    ]  # fmt: skip
    return model(nodes, {"x": (1, 3, 32, 32)}, ["y"], constants | ends)


FOCUS_IMAGES = [{"x": np.random.default_rng(seed).random((1, 3, 32, 32), np.float32)} for seed in range(4)]


def test_what_only_moves_data_between_float_layers_and_the_ends_of_the_model_is_not_rounded() -> None:
    of_stem = quantize_explained(focus(), FOCUS_IMAGES, QuantizeOptions(keep_float=("stem_node",))).model
    assert set(ranges_in(of_stem)) == {"a", "c", "y", "head"}
    of_head = quantize_explained(focus(), FOCUS_IMAGES, QuantizeOptions(keep_float=("head_node",))).model
    assert set(ranges_in(of_head)) == {"x", "upper", "lower", "both", "a", "c"}
    of_middle = quantize_explained(focus(), FOCUS_IMAGES, QuantizeOptions(keep_float=("b_node",))).model
    assert {"x", "both", "head", "y"} <= set(ranges_in(of_middle))


@pytest.mark.parametrize(("kept", "between"), [("stem_node", False), ("b_node", True), ("head_node", False)])
def test_the_price_of_a_layer_in_float_is_what_a_profile_says(kept: str, between: bool) -> None:
    graph = optimize_graph(focus())
    promised = island(graph, [next(n for n in graph.nodes if n.name == kept)], {})
    outcomes = [quantize_explained(focus(), FOCUS_IMAGES, QuantizeOptions(keep_float=of)) for of in ((), (kept,))]
    config = {"max_npu_segments": "auto"} if between else None
    before, after = (profile(compile(outcome.model, compiler_config=config)).host_ms for outcome in outcomes)
    assert promised.host_ms == pytest.approx(after - before, rel=0.02)
    told = [" in the middle of the model: without -c max_npu_segments=auto " in line for line in outcomes[1].done()]
    assert told == [between] == [" and furc compile -c max_npu_segments=auto: " in str(promised)]


def test_each_finding_has_its_own_hint_where_they_differ() -> None:
    def finding(name: str, hint: str) -> LintWarning:
        return LintWarning("OutputNoise", name, f"{name} costs", hint)

    differ = grouped([finding("a", "do this"), finding("b", "do that"), finding("c", "no"), finding("d", "nor this")])
    assert differ == [
        "warning[OutputNoise]: a costs\n  hint: do this\n  also: b costs\n  hint: do that\n  also: c costs\n"
        "  hint: no\n  also: 1 more, the last of them 'd'"
    ]
    alike = grouped([finding("a", "do this"), finding("b", "do this")])
    assert alike == ["warning[OutputNoise]: a costs\n  also: b costs\n  hint: do this"]


def test_after_splits_no_split_is_advised_and_layers_have_the_names_that_keep_float_knows() -> None:
    outcome = quantize_explained(hard_silu(), images(8), QuantizeOptions())
    assert any("/part" in node.name for node in outcome.graph.nodes)
    found = costly_layers(outcome.graph, outcome.tensors, outcome.price, -math.inf, outcome.splits)
    remedies = [remedy for layer in found for remedy in layer.remedies]
    assert any(remedy.startswith("--keep-float u_node,d_node: +") for remedy in remedies)
    assert all(remedy.startswith("--keep-float ") for remedy in remedies)
    assert not any("/part" in text or "/join" in text for layer in found for text in (layer.layer, *layer.remedies))
    (joined,) = [layer for layer in found if layer.layer == "d_node"]
    assert len({layer.layer for layer in found}) == len(found)
    assert any("--keep-float d_node,f_node" in remedy for remedy in joined.remedies)


def test_a_pattern_that_leaves_nothing_to_quantize_is_refused_by_its_name() -> None:
    with pytest.raises(QuantizeError) as caught:
        quantize_explained(hard_silu(), [], QuantizeOptions(keep_float=("*",)))
    assert caught.value.name == "NothingToQuantize" and caught.value.message.endswith("no layer to quantize: *")


def test_a_layer_in_float_that_reads_bytes_is_refused_and_not_advised() -> None:
    options = QuantizeOptions(split=False, input_dtype="uint8")
    with pytest.raises(QuantizeError) as caught:
        quantize_explained(focus(), FOCUS_IMAGES, replace(options, keep_float=("stem_node",)))
    assert caught.value.name == "NotQuantized" and "input 'x' cannot be uint8: 'upper_node', " in caught.value.message
    outcome = quantize_explained(focus(), FOCUS_IMAGES, options)
    found = costly_layers(outcome.graph, outcome.tensors, outcome.price, -math.inf)
    remedies = [remedy for layer in found for remedy in layer.remedies if "--keep-float" in remedy]
    assert remedies and not any("stem_node" in remedy for remedy in remedies)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"task": "detection"}, "task is 'detection'"),
        ({"form": "QDQ"}, "form is 'QDQ'"),
        ({"input_dtype": "uint16"}, "input_dtype is 'uint16'"),
        ({"keep_float": "/head/*"}, "keep_float is the text '/head/*', not a tuple of names"),
        ({"split": "false"}, "split is 'false'"),
        ({"adaround": None}, "adaround is None"),
        ({"budget": math.nan}, "budget is nan"),
        ({"opset": 99}, "opset is 99"),
        ({"opset": "13"}, "opset is '13'"),
    ],
)
def test_an_option_that_is_none_is_refused_before_any_work(option: dict[str, object], told: str) -> None:
    with pytest.raises(QuantizeError) as caught:
        QuantizeOptions(**option)  # type: ignore[arg-type]
    assert (caught.value.name, caught.value.message) == ("BadOption", told) and caught.value.hint


def test_an_input_that_something_takes_in_float_is_not_of_bytes() -> None:
    """As an output it had become bytes, too; a body of an If was found behind the calibration, with a false hint."""
    constants = {"w": normal(1, 4, 3, 3, 3), "half": np.array(0.5, np.float32)}
    conv = node("Conv", ["x", "w"], "y")
    shown = model([conv], {"x": (1, 3, 12, 12)}, ["y", "x"], constants)
    made = onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [1, 3, 12, 12])
    body = onnx.helper.make_graph([node("Neg", ["x"], "r")], "body", [], [made])
    branch = node("If", ["c"], "z", then_branch=body, else_branch=body)
    first = [node("ReduceMean", ["x"], "m", keepdims=0), node("Greater", ["m", "half"], "c")]
    read = model([conv, *first, branch], {"x": (1, 3, 12, 12)}, ["y", "z"], constants)
    for of, why in ((shown, "it is an output too"), (read, "a body of If 'z_node' reads it in float")):
        for form in ("qdq", "calibrated"):
            with pytest.raises(QuantizeError) as caught:
                quantize_explained(of, images(2), QuantizeOptions(input_dtype="uint8", form=form))
            assert caught.value.message == f"input 'x' cannot be uint8: {why}"
        quantize_explained(of, images(2))
