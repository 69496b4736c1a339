"""Layers that take out the errors that reach them, and what they are fitted by."""

from __future__ import annotations

import numpy as np
import pytest
from quantizer_models import images, model, node, normal, residual, run, sqnr_db
from test_quantizer_split import silu

import furc.quantizer.correct.compensate as compensate_module
from furc.onnx.graph import Array, Graph, make
from furc.onnx.run import RunModel
from furc.quantizer import CalibrationMethod, Observer, quantize_model
from furc.quantizer.correct.compensate import _ridge_regression, compensate
from furc.quantizer.correct.layer_reads import look, squares
from furc.quantizer.correct.patches import Patches, has_patches, weight_rows
from furc.quantizer.correct.staged_run import StagedRun, stored
from furc.quantizer.grids.scheme import Scheme, choose_grids
from furc.quantizer.observe.float_run import FloatRun
from furc.quantizer.observe.one_pass import drawn
from furc.quantizer.observe.simulate import Simulation, rounded_weights
from furc.quantizer.optimize import optimize_graph

Feeds = list[dict[str, Array]]


def scheme_of(graph: Graph, feeds: Feeds) -> Scheme:
    observer = Observer(graph)
    observer.observe(feeds)
    return choose_grids(graph, observer.ranges(CalibrationMethod.MIN_MAX_ASYM))


def deep(layers: int) -> Graph:
    """Depthwise and dense convolutions between SiLUs."""
    constants: dict[str, Array] = {"w": normal(1, 16, 3, 3, 3) * 0.4}
    nodes = [node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1]), *silu("c", "a0")]
    for i in range(layers):
        constants |= {f"d{i}": normal(2 * i + 2, 16, 1, 3, 3) * 0.4, f"p{i}": normal(2 * i + 3, 16, 16, 1, 1) * 0.4}
        nodes += [node("Conv", [f"a{i}", f"d{i}"], f"u{i}", pads=[1, 1, 1, 1], group=16), *silu(f"u{i}", f"v{i}"),
                  node("Conv", [f"v{i}", f"p{i}"], f"t{i}"), *silu(f"t{i}", f"a{i + 1}")]  # fmt: skip
    return optimize_graph(model(nodes, {"x": (1, 3, 24, 24)}, [f"a{layers}"], constants))


def letterboxed(count: int, seed: int = 0) -> Feeds:
    """Noise above, one colour below."""
    feeds = images(count + seed, (1, 3, 24, 24))[seed:]
    for feed in feeds:
        feed["x"][:, :, 14:] = 114 / 255
        feed["x"] *= 10
    return feeds


def power(of: Graph, scheme: Scheme, exact: Graph, feeds: Feeds, rows: slice = slice(None)) -> float:
    """Of the first output's error."""
    simulation, run, (name,) = Simulation(of, scheme), RunModel(exact.model()), exact.outputs
    errors = [simulation(feed, scheme.grids)[name] - run(feed)[name] for feed in feeds]
    return float(np.mean([np.square(error[:, :, rows]).mean() for error in errors]))


def test_errors_of_flat_regions_do_not_add_up() -> None:
    graph, feeds, held = deep(8), letterboxed(12), letterboxed(6, seed=20)
    scheme, compensated = scheme_of(graph, feeds), graph.copied()
    compensate(compensated, scheme, feeds)
    flat = slice(20, 24)
    assert power(compensated, scheme, graph, held, flat) < 0.5 * power(graph, scheme, graph, held, flat)
    assert power(compensated, scheme, graph, held) < 0.85 * power(graph, scheme, graph, held)


def test_kernels_are_rounded_for_smooth_maps() -> None:
    """Neighbours are alike, so that what rounding does is above all the error of a kernel's sum."""
    made = model([node("Conv", ["x", "w"], "y", group=8)], {"x": (1, 8, 12, 12)}, ["y"], {"w": normal(2, 8, 1, 3, 3)})
    graph, noise = optimize_graph(made), images(8, (1, 8, 12, 12))
    smooth = [{"x": np.cumsum(feed["x"] - 0.5, 2).cumsum(3) / 10} for feed in noise]
    scheme, rounded, nearest = scheme_of(graph, smooth), graph.copied(), graph.copied()
    compensate(rounded, scheme, smooth)
    (layer,) = graph.nodes
    nearest.constants["w"] = np.asarray(rounded_weights(graph, layer, scheme.grids["x"].scale))
    run = RunModel(graph.model())

    def error(of: Graph) -> float:
        made = RunModel(of.model())
        stored_maps = [{"x": stored(scheme.grids, "x", feed["x"])} for feed in smooth]
        return sum(float(np.var(made(feed)["y"] - run(feed)["y"], (0, 2, 3)).sum()) for feed in stored_maps)

    assert error(rounded) < 0.85 * error(nearest)


def test_the_mean_error_of_every_channel_is_taken_out() -> None:
    graph, feeds = deep(3), images(8, (1, 3, 24, 24))
    scheme, compensated, run = scheme_of(graph, feeds), graph.copied(), RunModel(graph.model())
    compensate(compensated, scheme, feeds)

    def shift(of: Graph) -> float:
        simulation, (name,) = Simulation(of, scheme), graph.outputs
        errors = [simulation(feed, scheme.grids)[name] - run(feed)[name] for feed in feeds]
        return float(np.square(np.mean(errors, axis=(0, 1, 3, 4))).mean())

    assert shift(compensated) < 0.3 * shift(graph)  # the rest: places not looked at, rounding of the last activation


def test_a_sample_with_values_far_larger_than_others_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors are larger than all that is in the others, and its mean error is none of theirs."""
    graph, held = deep(3), images(12, (1, 3, 24, 24))[8:]
    feeds = images(8, (1, 3, 24, 24))
    feeds[3] = {"x": feeds[3]["x"] * 30}
    scheme, found = scheme_of(graph, feeds), list[float]()
    for larger in (compensate_module.LARGER, np.inf):
        monkeypatch.setattr(compensate_module, "LARGER", larger)
        compensated = graph.copied()
        compensate(compensated, scheme, feeds)
        found.append(power(compensated, scheme, graph, held))
    assert found[0] < 0.9 * found[1] and found[0] < power(graph, scheme, graph, held)


@pytest.mark.parametrize("silent", [1, 5, 8])
def test_samples_of_nothing_but_zeros_are_no_hindrance(silent: int) -> None:
    graph, feeds = deep(1), images(8, (1, 3, 24, 24))
    scheme = scheme_of(graph, feeds)
    feeds[:silent] = [{"x": np.zeros_like(feeds[0]["x"])}] * silent
    compensate(compensated := graph.copied(), scheme, feeds)
    assert all(np.isfinite(value).all() for value in compensated.constants.values())


def test_a_layer_without_patches_has_its_mean_error_taken_out() -> None:
    layer = node("ConvTranspose", ["x", "w"], "y", strides=[2, 2])
    graph = optimize_graph(model([layer], {"x": (1, 4, 9, 9)}, ["y"], {"w": normal(1, 4, 4, 3, 3)}))
    (kept,) = graph.nodes
    assert not has_patches(graph, kept)
    feeds = images(4, (1, 4, 9, 9))
    scheme, compensated = scheme_of(graph, feeds), graph.copied()
    compensate(compensated, scheme, feeds)
    run = RunModel(graph.model())

    def worst(of: Graph) -> float:
        made = RunModel(of.model())
        errors = [made({"x": stored(scheme.grids, "x", feed["x"])})["y"] - run(feed)["y"] for feed in feeds]
        return float(np.abs(np.mean(errors, axis=(0, 1, 3, 4))).max())

    assert worst(compensated) < 1e-5


def test_a_channel_that_stands_still_is_no_reason_to_change_its_weights() -> None:
    constants = {"w": normal(1, 6, 4, 1, 1)}
    graph = optimize_graph(model([node("Conv", ["x", "w"], "y")], {"x": (1, 4, 8, 8)}, ["y"], constants))
    still = [{"x": np.full((1, 4, 8, 8), 0.3712, np.float32)} for _ in range(4)]
    scheme, compensated = scheme_of(graph, images(4, (1, 4, 8, 8))), graph.copied()
    compensate(compensated, scheme, still)
    (layer,) = compensated.nodes
    step = np.abs(constants["w"]).max() / 127
    np.testing.assert_allclose(compensated.constants[layer.inputs[1]], constants["w"], atol=step)


def test_stages_see_what_the_whole_model_on_its_grids_sees() -> None:
    graph, feeds = optimize_graph(residual()), images(3)
    scheme = scheme_of(graph, feeds)
    layers = [n for n in graph.nodes if n.op in ("Conv", "Gemm")]
    names = [n.inputs[0] for n in layers]
    inner = [name for name in names if name not in graph.inputs]
    whole, floats, seen = Simulation(graph, scheme, inner), FloatRun(graph, inner), 0
    run = StagedRun(graph, scheme, layers, feeds, 1 << 20)
    for ready in run.stages():
        for name in (layer.inputs[0] for layer in ready):
            for feed, exact, rounded in zip(feeds, run.exact, run.seen, strict=True):
                on_grids = {name: stored(scheme.grids, name, v) for name, v in feed.items()} | whole(feed, scheme.grids)
                np.testing.assert_allclose(rounded[name], on_grids[name], atol=1e-6)
                np.testing.assert_allclose(exact[name], (feed | floats(feed))[name], atol=1e-5)
                seen += 1
    assert seen == len(layers) * len(feeds)
    assert len(StagedRun(graph, scheme, layers, feeds, 1).exact) == 1  # as many as there is room for


@pytest.mark.parametrize("attributes", [
    {}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 2, 1], "strides": [2, 1]}, {"auto_pad": "VALID", "group": 4},
    {"pads": [2, 2, 2, 2], "dilations": [2, 2], "group": 2},
])  # fmt: skip
def test_patches_times_rows_are_what_a_convolution_makes(attributes: dict[str, int]) -> None:
    weight = normal(1, 8, 4 // attributes.get("group", 1), 3, 2)
    made = model([node("Conv", ["x", "w"], "y", **attributes)], {"x": (1, 4, 9, 7)}, ["y"], {"w": weight})
    (layer,), x = Graph(made).nodes, normal(2, 1, 4, 9, 7)
    y = RunModel(made)({"x": x})["y"]
    patches = Patches(layer, weight.shape)
    places = drawn(patches.count(x), 11, 0)
    cut = patches.at(x, places)
    found = np.matmul(weight_rows(layer, weight).reshape(len(cut), -1, cut.shape[1]), cut)
    assert patches.count(x) == y[0, 0].size
    np.testing.assert_allclose(found.reshape(8, -1), y[0].reshape(8, -1)[:, places], atol=1e-5)


def test_a_regression_is_the_same_with_few_places_and_with_many() -> None:
    x, y, ridge = normal(1, 2, 9, 6), normal(2, 2, 3, 6), np.array([0.5, 2.0], np.float32)
    for group in range(2):
        power = x[group] @ x[group].T / 6 + ridge[group] * np.eye(9)
        wanted = np.linalg.solve(power, x[group] @ y[group].T / 6).T
        np.testing.assert_allclose(_ridge_regression(x, y, ridge)[group], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-2])
@pytest.mark.parametrize("channels", [3, 300])
def test_what_hardly_moves_is_rounded_too(channels: int, spread: float) -> None:
    made = model([node("Conv", ["x", "w"], "y")], {"x": (1, channels, 12, 12)}, ["y"],
                 {"w": normal(2, 4, channels, 1, 1)})  # fmt: skip
    graph = optimize_graph(made)
    feeds = [{"x": (900 + spread * normal(i, 1, channels, 12, 12)).astype(np.float32)} for i in range(4)]
    scheme, rounded = scheme_of(graph, feeds), graph.copied()
    for every in (False, True):
        compensate(rounded, scheme, feeds, every=every)
    (name,) = graph.outputs
    errors = [RunModel(rounded.model())(feed)[name] - RunModel(graph.model())(feed)[name] for feed in feeds]
    assert np.abs(np.mean(errors)) < scheme.grids["x"].scale


@pytest.mark.parametrize("shape", [(6, 6), (6, 1), (1, 6), (6,), (1,), ()])
def test_a_bias_that_differs_from_row_to_row_stays(shape: tuple[int, ...]) -> None:
    made = model([node("Gemm", ["x", "w", "b"], "y")], {"x": (6, 6)}, ["y"], {"w": normal(1, 6, 6),
                 "b": normal(2, *shape)})  # fmt: skip
    feeds = images(4, (6, 6))
    exact, found = (np.array([run(of, feed)[0] for feed in feeds]) for of in (made, quantize_model(made, feeds)))
    assert sqnr_db(exact, found) > 35


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e25])
def test_layers_of_any_size_of_numbers_are_corrected(size: float) -> None:
    made = model([node("Conv", ["x", "w"], "y")], {"x": (1, 8, 12, 12)}, ["y"], {"w": normal(2, 4, 8, 1, 1)})
    graph = optimize_graph(made)
    feeds = [{"x": (size * normal(i, 1, 8, 12, 12)).astype(np.float32)} for i in range(4)]
    scheme, corrected = scheme_of(graph, feeds), graph.copied()
    compensate(corrected, scheme, feeds)
    (layer,) = graph.nodes
    rounded = np.asarray(rounded_weights(graph, layer, scheme.grids["x"].scale))
    weight = corrected.constants[corrected.nodes[0].inputs[1]]
    assert np.isfinite(weight).all() and np.abs(weight - rounded).max() < 0.1 * np.abs(rounded).max()


def fitted(noise: float) -> tuple[float, float]:
    """The power of a layer's error before and after it is changed, where it reads less of everything, and noise."""
    random = np.random.default_rng(0)
    exact = [random.normal(size=(1, 8, 32, 32)).astype(np.float32) for _ in range(4)]
    seen = [(x * (1 - noise) + noise * random.normal(size=x.shape)).astype(np.float32) for x in exact]
    weight = normal(1, 16, 8, 1, 1)
    patches = Patches(make("Conv", ["x", "w"], ["y"]), weight.shape)
    rows, at = weight.reshape(1, 16, 8), [np.arange(1024)] * 4
    read = look(patches, rows, exact, seen, at, 1.0, moments=False, about_mean=True)
    change = np.linalg.solve(squares(read.channels), np.matmul(read.channels, read.missing.transpose(0, 2, 1)))
    x, x_seen = (np.concatenate([patches.at(v, w) for v, w in zip(of, at, strict=True)], 2) for of in (exact, seen))
    made, wanted = (rows + change.transpose(0, 2, 1)) @ x_seen, rows @ x
    return float(np.square(rows @ x_seen - wanted).mean()), float(np.square(made - wanted).mean())


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3, 0.6])
def test_a_layer_that_reads_much_noise_does_not_make_it_larger(noise: float) -> None:
    before, after = fitted(noise)
    assert after < before


def test_values_whose_errors_overflow_leave_weights_as_they_are() -> None:
    """A damaged bias: scales had become NaN."""
    constants: dict[str, Array] = {"w0": normal(1, 8, 3, 3, 3), "b0": np.full(8, 1e33, np.float32)}
    constants |= {"w1": normal(2, 16, 8, 1, 1), "w2": normal(3, 16, 1, 3, 3), "w3": normal(4, 4, 16, 1, 1)}
    nodes = [
        node("Conv", ["x", "w0", "b0"], "c0"), node("Relu", ["c0"], "r0"), node("Conv", ["r0", "w1"], "c1"),
        node("Conv", ["c1", "w2"], "c2", group=16), node("Conv", ["c2", "w3"], "y"),
    ]  # fmt: skip
    quantized = quantize_model(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants), images(2, (1, 3, 12, 12)))
    assert all(np.isfinite(value).all() for value in Graph(quantized).constants.values())
