"""Lint, reports and image input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quantizer_models import image, images, model, node, normal, residual
from test_quantizer_split import hard_silu

from furc.data.images import preprocess_image
from furc.data.samples import SampleSource, read_samples
from furc.onnx.graph import Array
from furc.quantizer import (
    CalibrationMethod,
    LayerSqnr,
    Observer,
    Preprocess,
    QuantizeOptions,
    compare_methods,
    image_feeds,
    layer_sqnr,
    lint,
    noise_report,
    quantize_model,
    report_html,
    tensor_ranges,
)
from furc.quantizer.observe.sqnr import Noise
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.ranges.histogram import Histogram
from furc.quantizer.reports.lint import clipped_share
from furc.quantizer.reports.report import quantized_with, ranges_in
from furc.zoo import digits
from isa.errors import SourceError


def observed(feeds: list[dict[str, np.ndarray]]) -> Observer:
    observer = Observer(optimize_graph(residual()))
    observer.observe(feeds)
    return observer


def names(observer: Observer, **more: object) -> set[tuple[str, str]]:
    return {(w.name, w.tensor) for w in lint(observer, **more)}  # type: ignore[arg-type]


def test_good_data_has_no_findings() -> None:
    observer = observed(images(16))
    assert lint(observer, observer.ranges(CalibrationMethod.MIN_MAX_ASYM), samples=images(4)) == []


def test_each_fault_of_the_data_is_named() -> None:
    assert names(observed(images(3))) == {("FewSamples", "")}
    raw = [{"x": i["x"] * 255} for i in images(16)]
    assert names(observed(raw)) == {("NotNormalized", "x")}
    twice = [{"x": i["x"] / 255} for i in images(16)]
    assert names(observed(twice)) == {("NormalizedTwice", "x")}
    dead = [{"x": i["x"] * np.reshape(np.array([1, 0, 1], np.float32), (1, 3, 1, 1))} for i in images(16)]
    (finding,) = (w for w in lint(observed(dead), samples=dead[:4]) if w.name == "ConstantChannels")
    assert finding.tensor == "x" and finding.message == "1 of 3 channels of 'x' never change in 4 samples: 1"


def test_clipping_and_low_sqnr_are_named() -> None:
    observer = observed(images(16))
    ranges = observer.ranges(CalibrationMethod.MIN_MAX_ASYM)
    assert names(observer, ranges={**ranges, "c3": (-0.01, 0.01)}) == {("Clipped", "c3")}
    (finding,) = lint(observer, layers=[LayerSqnr("c3", "Conv", 4.25), LayerSqnr("sum", "Add", 30.0)])
    assert str(finding).startswith(
        "warning[LowSqnr]: 'c3' keeps only 4.2 dB of signal over quantization noise\n  hint: "
    )


def test_what_is_rounded_to_the_end_of_a_range_is_not_clipped() -> None:
    """A SiLU's results crowd at its minimum, and the zero point moves the ends by up to half a step."""
    histogram = Histogram()
    histogram.add(np.array([-0.278] * 9 + [7.0], np.float32))
    assert clipped_share(histogram, -0.265, 7.0) == 0.0  # a step is 0.028
    assert clipped_share(histogram, -0.263, 7.0) == 0.9


def test_layer_sqnr_lists_the_worst_first() -> None:
    observer = observed(images(4))
    ranges = {**observer.ranges(CalibrationMethod.MIN_MAX_ASYM), "r2": (0.0, 0.05)}
    rows = layer_sqnr(observer.graph, quantized_with(observer, ranges), images(2))
    assert rows[0].tensor == "r2" and rows[0].op == "Clip" and rows[0].at.nodes == ("r2_node",)
    assert {row.tensor for row in rows} >= {"x", "r1", "c3", "sum", "silu", "both", "y"}
    assert all(rows[i].db <= rows[i + 1].db for i in range(len(rows) - 1))


def test_methods_are_compared_with_the_callers_runner_and_shown_in_one_file() -> None:
    calls = []

    def accuracy(run: object) -> float:
        calls.append(run)
        return 75.0

    rows = compare_methods(
        residual(), images(4), images(3), methods=["MIN_MAX_ASYM", "MSE_SYM"], accuracy=accuracy,
        options=QuantizeOptions(equalize=False, bias_correction=False),
    )  # fmt: skip
    assert [row.method for row in rows] == ["MIN_MAX_ASYM", "MSE_SYM"] and len(calls) == 2
    assert all(r.accuracy == 75 and r.output_db > 25 and r.bytes > 1000 and r.seconds > 0 and r.layers for r in rows)
    page = report_html("small <net>", rows, tensor_ranges(observed(images(2)))[:2], measured_on="the simulated NPU")
    assert page.startswith("<!doctype html>") and "small &lt;net&gt;" in page and "the simulated NPU" in page
    assert all(name in page for name in ('"ticktext":["', "SQNR, dB", "values in the bin", '"text":"value"'))
    assert page.count('<div class="wide">') == 3  # SQNR by layer, two histograms
    assert "https://cdn" not in page.split("</script>")[-1] and "src=" not in page.split("</script>")[-1]


def test_the_report_says_which_channels_suffer_and_what_would_help() -> None:
    report = noise_report(residual(), images(4))
    assert report.tensors and report.layers and not report.unknown
    assert [t.noise for t in report.tensors] == sorted((t.noise for t in report.tensors), reverse=True)
    assert report.layers[0].tensor == report.tensors[0].tensor
    for tensor in report.tensors:
        channels = [c for group in tensor.groups for c in group.channels]
        assert sorted(channels) == list(range(len(channels))) and len(tensor.groups) <= 4
        assert all(group.alone <= group.noise * (1 + 1e-9) for group in tensor.groups)
    page = report_html("net", [], noise=report)
    assert report.layers[0].channels in page and "what would help" in page
    old = residual()
    old.opset_import[0].version = 12
    unknown = noise_report(old, images(4), QuantizeOptions(opset=12))
    assert unknown.unknown and not unknown.tensors
    assert "Not known for this model: gradients need opset 13" in report_html("net", [], noise=unknown)


def picture(path: Path, size: tuple[int, int] = (30, 20)) -> Path:
    gradient = np.zeros((size[1], size[0], 3), np.uint8)
    gradient[..., 0], gradient[..., 2] = 200, np.arange(size[0], dtype=np.uint8)
    Image.fromarray(gradient).save(path)
    return path


def test_images_come_from_a_directory_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "notes.txt"):
        if name.endswith("png"):
            picture(tmp_path / name)
        else:
            (tmp_path / name).write_text("no image")
    feeds = list(image_feeds(tmp_path, "x", Preprocess(size=(8, 10))))
    assert len(feeds) == 2 and feeds[0]["x"].shape == (1, 3, 8, 10) and feeds[0]["x"].dtype == np.float32
    assert (
        feeds[0]["x"][0, 0].max() == pytest.approx(200 / 255)
        and len(list(image_feeds(tmp_path, "x", Preprocess(), 1))) == 1
    )


def test_preprocessing_orders_channels_and_axes() -> None:
    image = Image.new("RGB", (4, 2), (10, 20, 30))
    base = {"scale": 1.0, "mean": (1.0, 2.0, 3.0), "std": (2.0, 2.0, 2.0)}
    rgb = preprocess_image(image, Preprocess(**base))  # type: ignore[arg-type]
    assert rgb[0, :, 0, 0].tolist() == [4.5, 9.0, 13.5]
    bgr = preprocess_image(image, Preprocess(**base, channels="bgr", layout="nhwc"))  # type: ignore[arg-type]
    assert bgr.shape == (1, 2, 4, 3) and bgr[0, 0, 0].tolist() == [14.5, 9.0, 3.5]
    assert preprocess_image(image, Preprocess(dtype="uint8"))[0, :, 0, 0].tolist() == [10, 20, 30]
    assert preprocess_image(image, Preprocess(channels="gray", dtype="uint8")).shape == (1, 1, 2, 4)


def test_letterbox_and_crop_keep_proportions() -> None:
    image = Image.new("RGB", (40, 20), (255, 255, 255))
    boxed = preprocess_image(image, Preprocess(size=(16, 16), fit="letterbox", dtype="uint8"))
    assert boxed[0, 0, :4].tolist() == [[114] * 16] * 4 and (boxed[0, 0, 4:12] == 255).all()
    corner = Preprocess(size=(16, 16), fit="letterbox", dtype="uint8", place="top-left", fill=7)
    placed = preprocess_image(image, corner)
    assert (placed[0, 0, :8] == 255).all() and (placed[0, 0, 8:] == 7).all()
    cropped = preprocess_image(image, Preprocess(size=(16, 16), fit="crop", dtype="uint8"))
    assert (cropped == 255).all()


def test_npz_and_broken_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=normal(0, 5, 3, 4, 4))
    feeds = list(image_feeds(tmp_path / "data.npz", "x", Preprocess(), 2))
    assert len(feeds) == 2 and feeds[0]["x"].shape == (1, 3, 4, 4)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no image")
    for path, name in (("broken.npz", "BadData"), ("broken.png", "BadImage"), ("missing", "NoImages")):
        with pytest.raises(SourceError) as caught:
            list(image_feeds(tmp_path / path, "x", Preprocess()))
        assert caught.value.name == name


@pytest.mark.parametrize("deep", [np.uint16, np.int32, np.float32])
def test_images_of_more_than_8_bits_are_refused(deep: type, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 1000, deep)).save(tmp_path / "deep.tiff")
    with pytest.raises(SourceError, match=r"BadImage.*more than 8 bits"):
        list(image_feeds(tmp_path / "deep.tiff", "x", Preprocess()))


def test_every_input_has_as_many_samples(tmp_path: Path) -> None:
    two = model([node("Add", ["a", "b"], "y")], {"a": (1, 4), "b": (1, 4)}, ["y"], {})
    np.savez(tmp_path / "data.npz", a=normal(0, 3, 4), b=normal(1, 2, 4))
    with pytest.raises(SourceError, match=r"BadData.*: 'a' 3, 'b' 2"):
        read_samples(two, SampleSource(path=tmp_path / "data.npz"))


def test_channels_that_died_in_training_are_no_finding() -> None:
    """They are no fault of the data, and are computed for nothing, but without any error."""
    weights = normal(1, 4, 3, 1, 1)
    weights[2] = 0
    observer = Observer(
        optimize_graph(model([node("Conv", ["x", "w"], "y")], {"x": (1, 3, 12, 12)}, ["y"], {"w": weights}))
    )
    observer.observe(images(16))
    assert lint(observer, samples=images(2)) == []


def test_samples_of_several_extents_are_not_compared_channel_by_channel() -> None:
    observer = Observer(optimize_graph(model([node("Relu", ["x"], "y")], {"x": (1, "words", 8)}, ["y"], {})))
    sentences = [{"x": normal(i, 1, 3 + i % 2, 8)} for i in range(16)]
    observer.observe(sentences)
    assert lint(observer, samples=sentences) == []


def test_samples_of_several_extents_are_seen_together_behind_the_first_layer() -> None:
    constants = {"w": normal(1, 4, 3, 3, 3), "b": normal(2, 4)}
    made = model([node("Conv", ["x", "w", "b"], "y")], {"x": (1, 3, "rows", 12)}, ["y"], constants)
    observer, several = Observer(optimize_graph(made)), [image(i, (1, 3, 9 + i % 3, 12)) for i in range(16)]
    observer.observe(several)
    assert lint(observer, samples=several) == []


def test_a_model_that_makes_no_noise_has_a_report() -> None:
    """Of nothing but zeros; and of one tensor of zeros beside others, as of a dead channel."""
    constants = {"w": normal(1, 4, 3, 1, 1), "v": np.zeros((4, 3, 1, 1), np.float32)}
    nodes = [node("Conv", ["x", "w"], "c"), node("Conv", ["x", "v"], "d"), node("Mul", ["c", "d"], "p"),
             node("Add", ["c", "p"], "y")]  # fmt: skip
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    for factor in (0, 1):
        report = noise_report(made, [{"x": factor * feed["x"]} for feed in images(3)])
        assert report.layers and (report.total > 0) == bool(factor)
        assert "what would help" in report_html("net", [], noise=report)


def test_layers_of_an_equalized_model_are_compared_with_the_equalized_float_layers() -> None:
    samples = [{"images": image[None]} for image in digits.calibration_images()[:24]]
    [row] = compare_methods(digits.model(), samples[4:], samples[:4], methods=["MSE_ASYM"])
    assert row.layers[0].db > 15


def test_layers_whose_channels_were_split_are_compared_in_their_new_order() -> None:
    (row,) = compare_methods(hard_silu(), images(8), images(2), methods=["weighted"])
    layers = {layer.tensor: layer.db for layer in row.layers}
    assert "a/part0" in layers and min(layers[name] for name in ("e", "f", "g", "y")) > 20


def test_outputs_that_are_maps_have_no_agreement() -> None:
    (row,) = compare_methods(hard_silu(), images(4), images(2), methods=["MIN_MAX_ASYM"])
    assert row.agreement is None and "<td>MIN_MAX_ASYM</td>" in report_html("maps", [row])
    (row,) = compare_methods(residual(), images(4), images(2), methods=["MIN_MAX_ASYM"])
    assert row.agreement == 100


def test_a_first_output_without_axes_has_no_agreement() -> None:
    """It had ended in an IndexError."""
    nodes = [node("Relu", ["x"], "r"), node("ReduceMean", ["r"], "y", keepdims=0)]
    total = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], {})
    (row,) = compare_methods(total, images(4), images(2), methods=["MIN_MAX_ASYM"])
    assert row.agreement is None


def test_ranges_are_read_back_from_the_quantized_model() -> None:
    samples = [{"images": image[None]} for image in digits.calibration_images()[:8]]
    found = ranges_in(quantize_model(digits.model(), samples, QuantizeOptions(method="MIN_MAX_ASYM")))
    assert found["images"] == pytest.approx((0.0, 1.0))
    assert "/conv1/Conv_output_0" not in found  # its Relu is fused


@pytest.mark.parametrize("threshold", [0.5, 1e9])
def test_outputs_whose_extents_only_a_run_tells_are_compared(threshold: float) -> None:
    """As many places as are above the threshold, or none: a ValueError each."""
    nodes = [node("Conv", ["x", "w"], "c"), node("Greater", ["c", "t"], "g"), node("NonZero", ["g"], "n"),
             node("Cast", ["n"], "y", to=1)]  # fmt: skip
    constants: dict[str, Array] = {"w": normal(1, 4, 3, 3, 3), "t": np.array(threshold, np.float32)}
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    (row,) = compare_methods(made, images(4), images(2), methods=["MIN_MAX_ASYM"])
    assert row.agreement is None and (row.output_db == 120 if threshold > 1 else row.output_db < 40)


def test_noise_of_other_extents_and_of_large_numbers() -> None:
    noise = Noise()
    noise.add(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
    assert (noise.signal, noise.error) == (6, 14)
    noise = Noise()
    with warnings.catch_warnings(action="error"):
        noise.add(np.full(4, 1e30, np.float32), np.full(4, 1.1e30, np.float32))
    assert noise.db == pytest.approx(20, abs=0.01)
