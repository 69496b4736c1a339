"""Train the digits network and write the two files of this package: `python -m furc.zoo.digits.train`.

Needs scikit-learn for the images, and less than a minute of one core. The same seed on the same machine, NumPy and BLAS
gives the same bytes; elsewhere sums may round in another order and the weights differ in their last digits.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from furc.zoo.digits import network
from furc.zoo.digits.data import IMAGES_FILE, MODEL_FILE, as_input
from furc.zoo.digits.layers import Array, Chain, Parameter
from furc.zoo.weights import he_normal

SPLIT_SEED = 0  # fixed: the test images stay unseen whatever seed one trains with
TEST_IMAGES = 360
CALIBRATION_IMAGES = 128


@dataclass(frozen=True, slots=True)
class Split:
    """images: inked dots [n, 8, 8], 0 to 16. labels: [n], 0 to 9. The first training images are for calibration."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    epochs: int = 40
    batch: int = 32
    learning_rate: float = 2e-3  # at the start; falls to zero along half a cosine


def split() -> Split:
    """The 1797 images in a fixed random order, cut in two."""
    from sklearn.datasets import load_digits  # here: what only writes or checks the network is without it

    digits = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.target))
    images, labels = digits.images[order].astype(np.uint8), digits.target[order].astype(np.uint8)
    return Split(images[:-TEST_IMAGES], labels[:-TEST_IMAGES], images[-TEST_IMAGES:], labels[-TEST_IMAGES:])


def train(images: NDArray[np.uint8], labels: NDArray[np.uint8], schedule: Schedule, seed: int) -> Chain:
    """images [n, 8, 8], labels [n]. Each epoch sees every image once, moved by up to a pixel each way."""
    chain = network.layers(he_normal(seed))
    adam = Adam(list(chain.parameters()))
    random = np.random.default_rng(seed)
    inputs = as_layer_input(images)
    steps_an_epoch = -(-len(inputs) // schedule.batch)
    steps = schedule.epochs * steps_an_epoch
    for step in range(steps):
        if step % steps_an_epoch == 0:
            order = random.permutation(len(inputs))
        chosen = order[step % steps_an_epoch * schedule.batch :][: schedule.batch]
        logits = chain.forward(shifted(inputs[chosen], random))
        chain.backward(cross_entropy_gradient(logits, labels[chosen]))
        adam.step(schedule.learning_rate * (1 + np.cos(np.pi * step / steps)) / 2)
    return chain


class Adam:
    """Kingma and Ba, arXiv:1412.6980, algorithm 1, with its constants."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = parameters
        self._means = [np.zeros_like(p.value) for p in parameters]
        self._squares = [np.zeros_like(p.value) for p in parameters]
        self._steps = 0

    def step(self, rate: float) -> None:
        self._steps += 1
        mean_scale, square_scale = 1 - 0.9**self._steps, 1 - 0.999**self._steps
        for p, mean, square in zip(self._parameters, self._means, self._squares, strict=True):
            mean += 0.1 * (p.gradient - mean)
            square += 0.001 * (p.gradient**2 - square)
            p.value -= float(rate) * (mean / mean_scale) / (np.sqrt(square / square_scale) + 1e-8)


def cross_entropy_gradient(logits: Array, labels: NDArray[np.uint8]) -> Array:
    """Of the mean of -log softmax(logits)[label], at the logits [n, 10]."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    gradient: Array = odds / odds.sum(axis=1, keepdims=True)
    gradient[np.arange(len(labels)), labels] -= 1
    return gradient / len(labels)


def shifted(images: Array, random: np.random.Generator) -> Array:
    """Each image [n, h, w, c] moved by -1, 0 or 1 pixel along rows and columns; blank paper comes in."""
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moves = random.integers(0, 3, (len(images), 2))
    return np.stack([x[r : r + height, c : c + width] for x, (r, c) in zip(padded, moves, strict=True)])


def as_layer_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[n, 8, 8] -> [n, 8, 8, 1]."""
    return as_input(images).transpose(0, 2, 3, 1)


def accuracy(chain: Chain, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
    return float(np.mean(chain.forward(as_layer_input(images)).argmax(axis=1) == labels))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m furc.zoo.digits.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder (default: the package's)")
    options = parser.parse_args()

    data = split()
    chain = train(data.train_images, data.train_labels, Schedule(), options.seed)
    onnx.save(network.onnx_model({p.name: p.value for p in chain.parameters()}), options.output / MODEL_FILE)
    np.savez_compressed(
        options.output / IMAGES_FILE,
        calibration=data.train_images[:CALIBRATION_IMAGES],
        test=data.test_images,
        labels=data.test_labels,
    )
    for name, images, labels in (
        ("training", data.train_images, data.train_labels),
        ("test", data.test_images, data.test_labels),
    ):
        print(f"{name} accuracy: {accuracy(chain, images, labels):.2%} of {len(labels)} images")


if __name__ == "__main__":
    main()
