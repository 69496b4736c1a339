"""What looks wrong with calibration data or with a choice of ranges, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from furc.quantizer.affine import Range
from furc.quantizer.calibrator import Observer
from furc.quantizer.equalize import Float64
from furc.quantizer.float_run import Feed, FloatRun
from furc.quantizer.histogram import Histogram
from furc.quantizer.report import LayerSqnr
from isa.errors import NOWHERE, Loc

FEW_SAMPLES = 16
CLIPPED_SHARE = 0.01
LOW_SQNR_DB = 10.0
IMPROVE = "try equalize, bias_correction and adaround; `spread` of its channels shows whether equalize can help"
RAW_MAGNITUDE = 20.0  # normalized pixels hardly reach 10; raw ones reach 255
TWICE_DEVIATION = 0.02  # pixels divided by 255 twice spread over 1/255; the spread of real images is above 0.1


@dataclass(frozen=True, slots=True)
class LintWarning:
    """One finding. name: what scripts match on. tensor: "" where it is about all the data."""

    name: str
    tensor: str
    message: str
    hint: str
    at: Loc = NOWHERE

    def __str__(self) -> str:
        return f"warning[{self.name}]: {self.message}\n  hint: {self.hint}"


SHOWN = 3  # findings of one kind that are spelled out


def grouped(found: Sequence[LintWarning]) -> list[str]:
    """As texts, the findings of one kind together: twenty layers with one cause are one thing to know."""
    by_name: dict[str, list[LintWarning]] = {}
    for warning in found:
        by_name.setdefault(warning.name, []).append(warning)
    return [_together(alike) for alike in by_name.values()]


def _together(alike: Sequence[LintWarning]) -> str:
    first, *others = alike
    lines = [f"warning[{first.name}]: {first.message}"]
    lines += [f"  also: {other.message}" for other in others[: SHOWN - 1]]
    if len(alike) > SHOWN:
        lines.append(f"  also: {len(alike) - SHOWN} more, the last of them '{alike[-1].tensor}'")
    return "\n".join([*lines, f"  hint: {first.hint}"])


def lint(
    observer: Observer,
    ranges: Mapping[str, Range] | None = None,
    layers: Sequence[LayerSqnr] = (),
    samples: Sequence[Feed] = (),
    advice: str = IMPROVE,
) -> list[LintWarning]:
    """All findings. ranges: the chosen ones; layers: see `layer_sqnr`; samples: some data, to see channels.

    advice: what may help a layer that loses much.
    """
    found = [*_samples(observer), *_inputs(observer)]
    found += _constant_channels(observer, samples) if samples else []
    found += _clipped(observer, ranges) if ranges is not None else []
    found += [_low_sqnr(layer, advice) for layer in layers if layer.db < LOW_SQNR_DB]
    return found


def _samples(observer: Observer) -> Iterator[LintWarning]:
    if observer.samples < FEW_SAMPLES:
        yield LintWarning(
            "FewSamples",
            "",
            f"only {observer.samples} samples were seen, ranges may miss what real data does",
            f"calibrate with at least {FEW_SAMPLES}, better 100, that look like what the model will see",
        )


def _inputs(observer: Observer) -> Iterator[LintWarning]:
    for name in observer.graph.inputs:
        histogram = observer.histograms.get(name)
        if histogram is None or not histogram.total:
            continue
        low, high = histogram.range
        if low >= 0 and high > RAW_MAGNITUDE:
            yield LintWarning(
                "NotNormalized",
                name,
                f"input '{name}' ranges over [{low:g}, {high:g}], like raw pixels",
                "if the model was trained on normalized pixels, pass scale, mean and std",
            )
        elif 0 < _deviation(histogram) < TWICE_DEVIATION:
            yield LintWarning(
                "NormalizedTwice",
                name,
                f"input '{name}' spreads by only {_deviation(histogram):.2g} around its mean, as if normalized twice",
                "check that pixels are divided by 255 (or by std) once, by the data or by the options, not by both",
            )


def _deviation(histogram: Histogram) -> float:
    bins = histogram.bins()
    if not bins.held.sum():
        return float(np.ptp(histogram.range)) / 4  # only the extremes were kept; images fill their range
    mean = np.average(bins.centre, weights=bins.held)
    return float(np.sqrt(np.average((bins.centre - mean) ** 2, weights=bins.held)))


def _constant_channels(observer: Observer, samples: Sequence[Feed]) -> Iterator[LintWarning]:
    """Channels (axis 1) of inputs and convolution results that never change."""
    graph = observer.graph
    convs = [node.output for node in graph.nodes if node.op in ("Conv", "ConvTranspose")]
    names = [name for name in (*graph.inputs, *convs) if name in observer.histograms]
    run = FloatRun(graph.model(), names)
    low: dict[str, Float64] = {}
    high: dict[str, Float64] = {}
    for feed in samples:
        for name, values in run(feed).items():
            if values.ndim >= 3:
                axes = tuple(axis for axis in range(values.ndim) if axis != 1)
                low[name] = np.minimum(low.get(name, np.inf), values.min(axis=axes))
                high[name] = np.maximum(high.get(name, -np.inf), values.max(axis=axes))
    for name in low:
        constant = np.flatnonzero(low[name] == high[name])
        if constant.size:
            shown = ", ".join(str(c) for c in constant[:8]) + (", ..." if constant.size > 8 else "")
            node = graph.producer(name)
            yield LintWarning(
                "ConstantChannels",
                name,
                f"{constant.size} of {low[name].size} channels of '{name}' never change: {shown}",
                "check the channel order and the data of an input; prune dead channels of a layer",
                node.loc if node else NOWHERE,
            )


def _clipped(observer: Observer, ranges: Mapping[str, Range]) -> Iterator[LintWarning]:
    for name, (low, high) in ranges.items():
        share = clipped_share(observer.histograms[name], low, high) if name in observer.histograms else 0.0
        if share > CLIPPED_SHARE:
            node = observer.graph.producer(name)
            yield LintWarning(
                "Clipped",
                name,
                f"{100 * share:.1f}% of the values of '{name}' lie outside its range [{low:g}, {high:g}]",
                "use a method with a wider range, such as MIN_MAX_ASYM, or a higher percentage",
                node.loc if node else NOWHERE,
            )


def clipped_share(histogram: Histogram, low: float, high: float) -> float:
    """The part of the values outside [low, high], to within a bin."""
    bins = histogram.bins()
    total = float(bins.held.sum())
    outside = (bins.centre < low - histogram.width) | (bins.centre > high + histogram.width)
    return float(bins.held[outside].sum()) / total if total else 0.0


def _low_sqnr(layer: LayerSqnr, advice: str) -> LintWarning:
    return LintWarning(
        "LowSqnr",
        layer.tensor,
        f"'{layer.tensor}' keeps only {layer.db:.1f} dB of signal over quantization noise",
        advice,
        layer.at,
    )
