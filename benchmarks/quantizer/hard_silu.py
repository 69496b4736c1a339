"""A depthwise SiLU network made hard: channel gains are spread before its SiLUs, so that one grid serves some badly.

    python -m benchmarks.quantizer.hard_silu [--ratio 300] [--seed 0]

Random weights: the figure is the SQNR of the outputs against the float model, compiled and run on the simulated NPU.
The convolution before every depthwise one has its channels multiplied by factors spread over 1 to `ratio`, and the
depthwise weights are divided by them. A SiLU between makes that another function, not the same one: what is measured is
the quantization of the network as it is then.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import furc
from furc.onnx.builder import Feature, GraphBuilder
from furc.onnx.graph import Array
from furc.quantizer import QuantizeOptions, quantize_explained, runner_for
from furc.quantizer.observe.sqnr import Noise, mean_ratio
from furc.runtime.runner import npu_runner_for
from furc.zoo.weights import he_normal

SIDE, CLASSES = 96, 40
STAGES = ((16, 1), (32, 2), (48, 2), (64, 2))  # channels and stride of the blocks
ROWS: dict[str, dict[str, Any]] = {
    "MSE_ASYM": {"method": "MSE_ASYM", "split": False, "equalize": False, "bias_correction": False},
    "MSE_ASYM, equalize, bias_correction": {"method": "MSE_ASYM", "split": False},
    "weighted, equalize, bias_correction": {"split": False},
    "the default": {},
    "auto": {"method": "auto"},
}


def network(ratio: float, seed: int) -> onnx.ModelProto:
    """Stem and blocks of depthwise and 1 x 1 convolutions, each with a SiLU, a residual where shapes allow, a head."""
    graph = GraphBuilder("hard_silu")
    x = _layer(graph, graph.input("images", (1, 3, SIDE, SIDE)), "stem", 16, 3, stride=2)
    for index, (channels, stride) in enumerate(STAGES):
        y = _layer(graph, x, f"block{index}/expand", 2 * channels, 1)
        y = _layer(graph, y, f"block{index}/depthwise", 2 * channels, 3, stride=stride, groups=2 * channels)
        y = graph.conv(y, f"block{index}/project", channels, 1)
        x = graph.add(x, y, f"block{index}/add") if y.shape == x.shape else y
    logits = graph.conv(x, "head", CLASSES, 1)
    fill, random = he_normal(seed), np.random.default_rng(seed)
    gains: dict[str, NDArray[np.float64]] = {}

    def hard(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        block = name.split(".")[0].split("/")[0]
        value = fill(name, shape)
        if "expand" in name:
            gain = gains.setdefault(block, np.exp(random.uniform(0, np.log(ratio), shape[0])))
            return (value * gain.reshape(-1, *[1] * (len(shape) - 1))).astype(np.float32)
        if "depthwise" in name and len(shape) > 1:
            return (value / gains[block].reshape(-1, 1, 1, 1)).astype(np.float32)
        return value

    return graph.model([logits], hard)


def _layer(
    graph: GraphBuilder, x: Feature, path: str, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> Feature:
    return graph.silu(graph.conv(x, path, channels, kernel, stride, groups=groups), f"{path}/act")


def images(count: int, seed: int) -> Iterator[dict[str, Array]]:
    """Smooth random fields: neighbours are alike, as in photographs."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        coarse = random.random((1, 3, SIDE // 8, SIDE // 8), np.float32).repeat(8, 2).repeat(8, 3)
        yield {"images": (coarse + 0.1 * random.normal(size=coarse.shape)).astype(np.float32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    model = network(chosen.ratio, chosen.seed)
    calibration, evaluation = list(images(32, 1)), list(images(16, 2))
    exact = runner_for(model)
    print("| | output SQNR dB | same class % | splits | latency ms |\n|---|---|---|---|---|")
    for title, options in ROWS.items():
        outcome = quantize_explained(model, calibration, QuantizeOptions(**options))
        run = npu_runner_for(outcome.model)
        noises: dict[str, Noise] = {}
        same = total = 0
        for feed in evaluation:
            wanted, got = exact(feed), run(feed)
            for name, values in wanted.items():
                noises.setdefault(name, Noise()).add(values, got[name])
                agree = values.argmax(1) == got[name].argmax(1)
                same, total = same + int(agree.sum()), total + agree.size
        enf = furc.compile(outcome.model, compiler_config={"use_program_loading": True})
        db = -10 * np.log10(mean_ratio(noises))
        latency = furc.profile(enf).latency_ms
        print(f"| {title} | {db:.1f} | {100 * same / total:.1f} | {len(outcome.splits)} | {latency:.3f} |", flush=True)


if __name__ == "__main__":
    main()
