"""The training code: gradients against finite differences, the ONNX graph against the layers, and reproducibility."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from furc.zoo.digits import network, train
from furc.zoo.digits.data import as_input
from furc.zoo.digits.layers import (
    Array,
    Chain,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAverage,
    Layer,
    MaxPool,
    Relu,
    Residual,
)
from furc.zoo.weights import he_normal


def _float64(name: str, shape: tuple[int, ...]) -> Array:
    return he_normal(0)(name, shape).astype(np.float64)


LAYERS: dict[str, tuple[Callable[[], Layer], tuple[int, ...]]] = {
    "conv": (lambda: Conv("p", 3, 5, 3, _float64), (2, 4, 6, 3)),
    "conv 1x1": (lambda: Conv("p", 3, 5, 1, _float64), (2, 4, 6, 3)),
    "depthwise": (lambda: DepthwiseConv("p", 3, 3, _float64), (2, 4, 6, 3)),
    "dense": (lambda: Dense("p", 7, 4, _float64), (3, 7)),
    "relu": (Relu, (2, 3, 3, 2)),
    "max pool": (MaxPool, (2, 4, 6, 3)),
    "average": (GlobalAverage, (2, 4, 6, 3)),
    "residual": (lambda: Residual([Conv("p", 3, 3, 3, _float64), Relu()]), (2, 4, 4, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_backward_is_the_derivative_of_forward(name: str) -> None:
    make, shape = LAYERS[name]
    layer, random = make(), np.random.default_rng(0)
    x = random.standard_normal(shape)
    toward = random.standard_normal(layer.forward(x).shape)  # the loss is sum(output * toward)
    at_input = layer.backward(toward)
    np.testing.assert_allclose(at_input, _slopes(layer, x, x, toward), rtol=1e-5, atol=1e-7)
    for parameter in layer.parameters():
        slopes = _slopes(layer, x, parameter.value, toward)
        np.testing.assert_allclose(parameter.gradient, slopes, rtol=1e-5, atol=1e-7, err_msg=parameter.name)


def test_cross_entropy_gradient_is_its_derivative() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 10))
    labels = np.array([1, 5, 9], np.uint8)

    def loss(at: Array) -> float:
        odds = np.exp(at)
        return float(-np.mean(np.log(odds[np.arange(3), labels] / odds.sum(axis=1))))

    slopes = np.array([[_slope(loss, logits, (n, c)) for c in range(10)] for n in range(3)])
    np.testing.assert_allclose(train.cross_entropy_gradient(logits, labels), slopes, rtol=1e-5, atol=1e-8)


def test_onnx_graph_computes_what_the_layers_compute() -> None:
    chain = network.layers(he_normal(3))
    model = network.onnx_model({p.name: p.value for p in chain.parameters()})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for image in train.split().test_images[:8, np.newaxis]:
        (logits,) = session.run(None, {"images": as_input(image[0][np.newaxis])})
        np.testing.assert_allclose(logits, chain.forward(train.as_layer_input(image)), rtol=1e-4, atol=1e-5)


def test_training_again_gives_the_same_weights_and_another_seed_others() -> None:
    data = train.split()
    first, again, other = (
        train.train(data.train_images[:64], data.train_labels[:64], train.Schedule(epochs=1), seed)
        for seed in (0, 0, 1)
    )
    assert _values(first) == _values(again)
    assert _values(first) != _values(other)


def test_a_few_epochs_already_read_most_digits() -> None:
    data = train.split()
    chain = train.train(data.train_images, data.train_labels, train.Schedule(epochs=4), seed=0)
    assert train.accuracy(chain, data.test_images, data.test_labels) > 0.8


def test_no_image_is_both_trained_on_and_tested_with() -> None:
    data = train.split()
    assert len(data.train_labels) + len(data.test_labels) == 1797
    seen = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in seen for image in data.test_images)


def test_shift_moves_by_at_most_a_pixel_and_brings_in_blank_paper() -> None:
    dot = np.zeros((200, 8, 8, 1))
    dot[:, 4, 4] = 1
    moved = train.shifted(dot, np.random.default_rng(0))
    places = {(int(r), int(c)) for _, r, c, _ in np.argwhere(moved)}
    assert places == {(r, c) for r in (3, 4, 5) for c in (3, 4, 5)}
    assert moved.sum() == 200


def _values(chain: Chain) -> bytes:
    return b"".join(p.value.tobytes() for p in chain.parameters())


def _slopes(layer: Layer, x: Array, at: Array, toward: Array) -> Array:
    """Central differences of the loss at every element of `at`, which is x or one of the layer's values."""
    result = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        result[index] = _slope(lambda _: float((layer.forward(x) * toward).sum()), at, index)
    return result


def _slope(loss: Callable[[Array], float], at: Array, index: tuple[int, ...]) -> float:
    kept, step = at[index], 1e-6
    at[index] = kept + step
    above = loss(at)
    at[index] = kept - step
    below = loss(at)
    at[index] = kept
    return (above - below) / (2 * step)
