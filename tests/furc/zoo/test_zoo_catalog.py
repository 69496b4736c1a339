"""The zoo against what its sources publish, ONNX's checker, and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from furc import zoo
from furc.onnx.builder import GraphBuilder
from furc.zoo import fcn
from isa.errors import SourceError

# Multiply-accumulates (in 10**9) and parameters (in 10**6), where a FLOP count is published half of it.
# ResNet, MobileNetV2: torchvision's weight tables. SSD: MLPerf Inference, arXiv:1911.02549, table 1, but the parameters
# of ssd_resnet34 from the 80.4 MB of its float32 file. YOLO: the tables of both repositories.
PUBLISHED = {
    "resnet50": (4.09, 25.6),
    "mobilenet_v2": (0.301, 3.5),
    "ssd_mobilenet_v1": (2.47 / 2, 6.91),
    "ssd_resnet34": (433 / 2, 80.4 / 4),
    "yolov5n": (4.5 / 2, 1.9),
    "yolov5s": (16.5 / 2, 7.2),
    "yolov5m": (49.0 / 2, 21.2),
    "yolov5l": (109.1 / 2, 46.5),
    "yolov5x": (205.7 / 2, 86.7),
    "yolov8n": (8.7 / 2, 3.2),
    "yolov8s": (28.6 / 2, 11.2),
    "yolov8m": (78.9 / 2, 25.9),
    "yolov8l": (165.2 / 2, 43.7),
    "yolov8x": (257.8 / 2, 68.2),
}
SMALL = {"ssd_mobilenet_v1": 64, "ssd_resnet34": 392, "fcn_resnet50": 32}  # input sizes for runs; 64 for the others
LARGE = {"yolov5l", "yolov5x", "yolov8m", "yolov8l", "yolov8x"}  # only deeper and wider than their small sisters


def test_names_are_the_published_ones_and_fcn() -> None:
    assert set(zoo.names()) == PUBLISHED.keys() | {"fcn_resnet50"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_macs_and_parameters_are_the_published_ones(name: str) -> None:
    gmacs, mparams = PUBLISHED[name]
    card = zoo.describe(name)
    assert card.macs == pytest.approx(gmacs * 1e9, rel=0.02)
    assert card.params == pytest.approx(mparams * 1e6, rel=0.02)


def test_fcn_has_torchvisions_macs_at_520_without_the_auxiliary_head() -> None:
    graph = GraphBuilder("fcn_resnet50")
    fcn.ARCHITECTURES["fcn_resnet50"].draw(graph, graph.input("images", (1, 3, 520, 520)))
    auxiliary = 65 * 65 * (1024 * 256 * 3 * 3 + 256 * 21)
    assert graph.macs + auxiliary == pytest.approx(152.717e9, rel=1e-5)


@pytest.mark.parametrize("name", zoo.names())
def test_card_names_input_and_source(name: str) -> None:
    card = zoo.describe(name)
    batch, channels, height, width = card.input_shape
    assert (card.name, batch, channels) == (name, 1, 3)
    assert height == width
    assert card.source
    assert card.note


@pytest.mark.fills_memory
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in zoo.names()])
def test_checker_accepts_and_onnxruntime_runs(name: str) -> None:
    size = SMALL.get(name, 64)
    model = zoo.build(name, input_size=size)
    onnx.checker.check_model(model, full_check=True)  # infers shapes too, and compares them with those written
    session = _session(model)
    image = np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)
    for declared, value in zip(session.get_outputs(), session.run(None, {"images": image}), strict=True):
        assert list(value.shape) == declared.shape
        assert np.isfinite(value).all()
        assert value.std() > 0


@pytest.mark.parametrize(
    ("name", "channels", "sizes"),
    [
        ("ssd_mobilenet_v1", [273, *[546] * 5, 12, *[24] * 5], [19, 10, 5, 3, 2, 1] * 2),
        ("ssd_resnet34", [324, 486, 486, 486, 324, 324, 16, 24, 24, 24, 16, 16], [50, 25, 13, 7, 3, 3] * 2),
        ("yolov5n", [255] * 3, [80, 40, 20]),
        ("yolov8n", [64] * 3 + [80] * 3, [80, 40, 20] * 2),
    ],
)
def test_detectors_end_at_their_head_convolutions(name: str, channels: list[int], sizes: list[int]) -> None:
    graph = zoo.build(name).graph
    heads = {node.output[0] for node in graph.node if node.op_type == "Conv"}
    assert all(output.name in heads for output in graph.output)
    shapes = [[d.dim_value for d in output.type.tensor_type.shape.dim] for output in graph.output]
    assert shapes == [[1, c, size, size] for c, size in zip(channels, sizes, strict=True)]


def test_nodes_have_unique_names_in_the_exporters_manner() -> None:
    nodes = [node.name for node in zoo.build("yolov8n", input_size=32).graph.node]
    assert len(set(nodes)) == len(nodes)
    assert nodes[:3] == ["/model.0/conv/Conv", "/model.0/act/Sigmoid", "/model.0/act/Mul"]
    assert {"/model.2/Slice", "/model.2/Slice_1", "/model.9/m_1/MaxPool", "/model.22/cv3.2/cv3.2.2/Conv"} <= set(nodes)


def test_model_is_static_float32_opset_13_without_batchnorm() -> None:
    model = zoo.build("mobilenet_v2", input_size=32)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert not {"BatchNormalization", "Constant"} & {node.op_type for node in model.graph.node}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert all(d.dim_value > 0 for d in value.type.tensor_type.shape.dim)


def test_same_arguments_give_the_same_bytes_and_another_seed_other_weights() -> None:
    first, again, other = (zoo.build("yolov5n", input_size=32, seed=seed).SerializeToString() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len(first) == len(other)


def test_weights_do_not_depend_on_the_input_size() -> None:
    small, large = (zoo.build("yolov8n", input_size=size).graph.initializer for size in (32, 64))
    assert [t.SerializeToString() for t in small] == [t.SerializeToString() for t in large]


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(SourceError) as caught:
        zoo.build("yolo8n")
    assert str(caught.value) == ("error[UnknownModel]: the zoo has no model 'yolo8n'\n  hint: did you mean 'yolov8n'?")


def test_unknown_name_like_no_other_lists_all() -> None:
    with pytest.raises(SourceError) as caught:
        zoo.describe("transformer")
    assert caught.value.hint.startswith("the zoo has resnet50, mobilenet_v2, ")


@pytest.mark.parametrize(
    ("name", "size", "message", "hint"),
    [
        ("yolov8n", 100, "input size 100 of 'yolov8n' is not a multiple of 32", "use 96 or 128"),
        ("yolov5s", 31, "input size 31 of 'yolov5s' is not a multiple of 32", "use 32"),
        ("resnet50", 0, "input size 0 of 'resnet50' is not at least 1", "use 1"),
    ],
)
def test_size_that_does_not_divide_is_refused(name: str, size: int, message: str, hint: str) -> None:
    with pytest.raises(SourceError) as caught:
        zoo.build(name, input_size=size)
    assert (caught.value.name, caught.value.message, caught.value.hint) == ("InvalidInputSize", message, hint)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SourceError) as caught:
        zoo.build("resnet50", seed=-1)
    assert str(caught.value) == "error[InvalidSeed]: seed -1 of 'resnet50' is negative\n  hint: use 0 or more"


def test_size_that_leaves_no_pixel_for_a_window_names_the_node() -> None:
    with pytest.raises(SourceError) as caught:
        zoo.build("ssd_resnet34", input_size=96)
    assert str(caught.value) == (
        "error[InputTooSmall]: ssd_resnet34: node '/additional_blocks.3/additional_blocks.3.2': "
        "the window spans 3 pixels, but its input has 2 and 0 of padding\n  hint: use a larger input"
    )


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
