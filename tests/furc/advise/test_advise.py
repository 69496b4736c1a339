"""furc.advise: every kind of proposal on a model that calls for it; what is applied equals the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from yolo_models import BINS, CLASSES, little_network, little_yolov8, yolov5, yolov8

from furc import zoo
from furc.advise import Advice, Proposal, advise, applied
from furc.advise.accuracy import pieces
from furc.advise.activation import REWRITES, rewritten
from furc.advise.cut import drafts as cuts
from furc.advise.proposal import Considered
from furc.advise.subject import subject_of
from furc.advise.uint8_input import taking_bytes
from furc.data.samples import SampleSource
from furc.onnx.graph import Array, Graph
from furc.onnx.run import RunModel
from furc.quantizer import quantize_model, random_samples
from furc.report.advice_table import closing
from furc.request import Request
from isa.errors import ConfigError, SourceError
from isa.npu import target, with_constants

RNG = np.random.default_rng(0)
IMAGE = {"images": RNG.random((1, 3, 64, 64), np.float32)}


def network(*nodes: onnx.NodeProto, shape: Sequence[int] = (1, 8, 16, 16), opset: int = 13) -> onnx.ModelProto:
    """Nodes between x and y; weights w [8, 8, 3, 3] of the convolutions among them."""
    numbers = {"w": RNG.normal(size=(8, 8, 3, 3)) / 6, "half": np.array(0.5), "mean": np.full((1, 1, 1, 8), 0.1)}
    graph = helper.make_graph(
        list(nodes), "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in numbers.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def conv(x: str, y: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, "w"], [y], y, pads=[1] * 4)


def node(op: str, x: str, y: str, *more: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, [x, *more], [y], y, **attributes)


def advice_for(tmp_path: Path, model: onnx.ModelProto, request: Request | None = None, **more: object) -> Advice:
    onnx.save(model, tmp_path / "m.onnx")
    return advise(tmp_path / "m.onnx", request, **more)  # type: ignore[arg-type]


def tried(advice: Advice, kind: str) -> list[str]:
    """Titles of what was measured, whether it pays or not."""
    passed_over = [each.title for each in advice.considered if each.kind == kind]
    return [*(proposal.title for proposal in of(advice, kind)), *passed_over]


def of(advice: Advice, kind: str) -> list[Proposal]:
    return [proposal for proposal in advice.proposals if proposal.kind == kind]


def in_sequence(advice: Advice, number: int | None, feed: dict[str, Array]) -> dict[str, Array]:
    """What the applied model and its rest make in float, one after the other."""
    found, values = applied(advice, number), dict(feed)
    for part in (found.before, found.model, found.rest):
        if part is not None:
            run = RunModel(part)
            values |= run({name: values[name] for name in run.inputs})
    return values


def assert_same(whole: onnx.ModelProto, advice: Advice, number: int | None, feed: dict[str, Array]) -> None:
    got = in_sequence(advice, number, feed)
    for name, array in RunModel(whole)(feed).items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-4)


class TestYolo:
    def test_the_cut_is_found_measured_and_applied(self, tmp_path: Path) -> None:
        whole = little_yolov8()
        advice = advice_for(tmp_path, whole, data=SampleSource(random=4), kinds=("uint8_input", "cut"))
        heads = {o.name for o in little_network(levels=(4 * BINS, CLASSES)).graph.output}
        best = advice.proposals[0]
        assert best.kind == "together" and set(best.draft.tensors) == heads
        assert "joins" in of(advice, "cut")[0].draft.why and best.saved > 0.5
        assert advice.accuracy is not None and best.accuracy_after is not None
        assert advice.accuracy.worst_db < 1 and "Sigmoid" in advice.accuracy.worst  # kept whole, scores are gone
        assert best.accuracy_after.worst_db > 25
        number = advice.proposals.index(of(advice, "cut")[0]) + 1
        assert_same(whole, advice, number, IMAGE)
        assert applied(advice).model.metadata_props  # the note that inputs are bytes

    def test_without_data_the_cut_is_first_and_says_so(self, tmp_path: Path) -> None:
        best = advice_for(tmp_path, little_yolov8(), kinds=["cut"]).proposals[0]
        assert best.draft.rescues and best.accuracy_after is None

    @pytest.mark.parametrize("name", ["yolov8n", "yolov5n"])
    def test_the_real_ones_are_cut_at_the_head_convolutions(self, tmp_path: Path, name: str) -> None:
        network = zoo.build(name, input_size=64)
        heads = {o.name for o in network.graph.output}
        whole = yolov8(network) if name == "yolov8n" else yolov5(network)
        onnx.save(whole, tmp_path / "m.onnx")
        found = list(cuts(subject_of(tmp_path / "m.onnx", Request()), None))
        assert set(found[-1].tensors) == heads and found[-1].rescues

    def test_scores_are_judged_beside_boxes(self) -> None:
        model = yolov5(little_network(levels=(3 * (5 + CLASSES),)))
        found = pieces(Graph(onnx.shape_inference.infer_shapes(model)))
        assert len(found) == 9  # of three levels: centres, extents, scores
        values = RunModel(model)(IMAGE)["output0"]
        assert [piece.of(values).shape[-1] for piece in found] == [2, 2, 81] * 3
        assert sum(piece.of(values).size for piece in found) == values.size


class TestKinds:
    def test_bytes_spare_the_host_most(self, tmp_path: Path) -> None:
        model = network(conv("x", "y"))
        advice = advice_for(tmp_path, model, kinds=["uint8_input"])
        (proposal,) = of(advice, "uint8_input")
        assert proposal is advice.proposals[0] and proposal.saved > 0.5
        int8 = quantize_model(applied(advice).model, random_samples(model, 2))
        assert int8.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8

    def test_a_quantized_model_takes_bytes_at_once(self, tmp_path: Path) -> None:
        model = network(conv("x", "y"))
        advice = advice_for(tmp_path, quantize_model(model, random_samples(model, 2)), kinds=["uint8_input"])
        changed = applied(advice).model
        assert changed.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
        assert len(changed.graph.node) == len(onnx.load(tmp_path / "m.onnx").graph.node) - 1

    def test_a_tail_that_the_npu_cannot_take(self, tmp_path: Path) -> None:
        model = network(conv("x", "c"), node("Relu", "c", "r"), node("Reshape", "r", "v", "to"), node("Log", "v", "y"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 8, 256]), "to"))
        advice = advice_for(tmp_path, model, kinds=["cut"])
        draft = next(iter(cuts(subject_of(tmp_path / "m.onnx", Request()), None)))
        assert draft.tensors == ("r",) and "'Log' cannot be accelerated" in draft.why
        assert draft.title in tried(advice, "cut")

    def test_what_nobody_runs_is_cut_off(self, tmp_path: Path) -> None:
        model = network(conv("x", "c"), helper.make_node("Unheard", ["c"], ["y"], "unheard", domain="com.example"))
        advice = advice_for(tmp_path, model, kinds=["cut"])
        assert "UnsupportedOperator" in advice.refused and advice.before is None
        (proposal,) = of(advice, "cut")
        assert proposal.draft.tensors == ("c",) and proposal.before is None and proposal.after.npu_ms > 0

    def test_a_head_that_the_npu_cannot_take(self, tmp_path: Path) -> None:
        model = network(node("Log", "x", "l"), node("Sub", "l", "s", "half"), conv("s", "y"))
        onnx.save(model, tmp_path / "m.onnx")
        titles = {draft.tensors: draft for draft in cuts(subject_of(tmp_path / "m.onnx", Request()), None)}
        assert set(titles) == {("l",), ("s",)}
        assert titles["l",].change.before is not None

    def test_a_softmax_at_the_end(self, tmp_path: Path) -> None:
        model = network(conv("x", "c"), node("GlobalAveragePool", "c", "p"), node("Softmax", "p", "y", axis=1))
        advice = advice_for(tmp_path, model, data=SampleSource(random=4), kinds=["softmax"])
        (proposal,) = of(advice, "softmax")
        assert proposal.draft.tensors == ("p",) and proposal.after.npu_ms < (advice.before or proposal.after).npu_ms
        assert_same(model, advice, advice.proposals.index(proposal) + 1, {"x": RNG.random((1, 8, 16, 16), np.float32)})

    def test_an_activation_as_itself_and_as_relu(self, tmp_path: Path) -> None:
        model = network(conv("x", "a"), node("HardSwish", "a", "b"), conv("b", "y"), opset=14)
        found = of(advice_for(tmp_path, model, data=SampleSource(random=4), kinds=["activation"]), "activation")
        assert [proposal.draft.retrain for proposal in found] == [False, True]
        assert found[0].accuracy_after is not None and found[1].accuracy_after is not None
        assert found[0].accuracy_after.db > 30 > found[1].accuracy_after.db

    @pytest.mark.parametrize("op", REWRITES)
    def test_the_same_function_is_the_same(self, op: str) -> None:
        model = network(node(op, "x", "y", *(["half"] if op == "PRelu" else [])), opset=20)
        other = rewritten(Graph(onnx.shape_inference.infer_shapes(model)), {"y"}, REWRITES[op][0])
        assert other is not None
        feed = {"x": RNG.normal(size=(1, 8, 16, 16)).astype(np.float32) * 3}
        limit = 0.0211 if op == "Gelu" else 1e-5
        np.testing.assert_allclose(RunModel(other)(feed)["y"], RunModel(model)(feed)["y"], atol=limit)

    def test_silu_stays(self, tmp_path: Path) -> None:
        model = network(conv("x", "a"), node("Sigmoid", "a", "s"), node("Mul", "a", "b", "s"), conv("b", "y"))
        assert not of(advice_for(tmp_path, model, kinds=["activation"]), "activation")

    def test_the_wider_set_and_segments(self, tmp_path: Path) -> None:
        model = network(conv("x", "a"), node("Tanh", "a", "b"), conv("b", "y"), shape=(1, 8, 64, 64))
        advice = advice_for(tmp_path, model, kinds=["operator_set", "segments"])
        (wider,) = of(advice, "operator_set")
        assert "Tanh 'b'" in wider.draft.why and wider.change.request is not None
        assert wider.change.request.settings["operator_set"] == "sdk0.10" and wider.saved > 0
        assert tried(advice, "segments")

    def test_schedule(self, tmp_path: Path) -> None:
        joined = (conv("x", "a"), conv("x", "b"), node("Concat", "a", "c", "b", axis=1))
        model = network(*joined, node("MaxPool", "c", "y", kernel_shape=[2, 2]))
        (found,) = of(advice_for(tmp_path, model, kinds=["schedule"]), "schedule")
        assert found.saved > 0 and found.change.how == "-c schedule=best"
        best = advice_for(tmp_path, model, Request(settings={"schedule": "best"}), kinds=["schedule"])
        assert not of(best, "schedule")

    def test_program_loading(self, tmp_path: Path) -> None:
        model = network(conv("x", "a"), conv("a", "b"), conv("b", "y"))
        on = advice_for(tmp_path, model, Request(settings={"use_program_loading": True}), kinds=["program_loading"])
        (off,) = of(on, "program_loading")
        assert off.saved > 0 and off.change.how == "-c use_program_loading=false"
        small = tmp_path / "small.toml"
        small.write_text('base = "warboy-2pe"\nname = "small"\ninstruction_memory_bytes = 512\n')
        advice = advice_for(tmp_path, model, Request(npu_config=small), kinds=["program_loading"])
        (needed,) = of(advice, "program_loading")
        assert needed.before is None and needed.after.program_loading
        assert needed.change.how == "-c use_program_loading=true"

    def test_target_and_batch_make_more_images(self, tmp_path: Path) -> None:
        model = network(conv("x", "a"), conv("a", "y"))
        advice = advice_for(tmp_path, model, Request(target_npu="warboy-2pe"), kinds=["target", "batch"])
        (one,), (batch,) = of(advice, "target"), of(advice, "batch")
        assert one.change.how == "--target-npu warboy" and one.after.at_once == 2 and one.gained > 0
        assert batch.after.batch in (2, 4, 8) and batch.gained > 0 > batch.saved

    def test_a_what_if_machine_is_compared_with_no_target(self, tmp_path: Path) -> None:
        machine = with_constants(target("warboy"), {"num_slices": 32})
        advice = advice_for(tmp_path, network(conv("x", "y")), Request(on=machine), kinds=["target"])
        assert not advice.proposals and not advice.considered


class TestNothing:
    def test_nothing_to_advise(self, tmp_path: Path) -> None:
        model = network(conv("x", "y"))
        int8 = quantize_model(taking_bytes(model), random_samples(model, 2))
        advice = advice_for(tmp_path, int8)
        assert all(proposal.kind in ("target", "batch") for proposal in advice.proposals)
        assert closing(advice, listed=False).startswith("Nothing to advise for a single run")
        advice = advice_for(tmp_path, int8, kinds=["uint8_input", "cut", "program_loading"])
        assert not advice.proposals
        assert closing(advice, listed=False) == "Nothing to advise: 0 changes tried, none pays"
        with pytest.raises(ConfigError, match="NothingToApply"):
            applied(advice)
        idle = replace(advice, considered=(Considered("batch", "2 images a run", "no faster"),))
        assert closing(idle, listed=False) == "Nothing to advise: 1 change tried, none pays (--all lists them)"
        assert closing(idle, listed=True) == "Nothing to advise: 1 change tried, none pays"

    def test_what_cannot_be_asked(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="ModelNotFound"):
            advise(tmp_path / "missing.onnx")
        model = network(conv("x", "y"))
        int8 = quantize_model(model, random_samples(model, 2))
        with pytest.raises(ConfigError, match="NotFloat"):
            advice_for(tmp_path, int8, data=SampleSource(random=2))
        with pytest.raises(ConfigError, match=r"(?s)UnknownKind.*did you mean 'cut'"):
            advice_for(tmp_path, model, kinds=["cuts"])
        advice = advice_for(tmp_path, model, kinds=["target"])
        with pytest.raises(ConfigError, match="UnknownProposal"):
            applied(advice, 99)
        with pytest.raises(ConfigError, match=r"NothingToApply.*--target-npu warboy"):
            applied(advice, advice.proposals.index(of(advice, "target")[0]) + 1)
