"""What looks wrong with calibration data or with a choice of ranges, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from furc.onnx.graph import Array
from furc.quantizer.grids.affine import STEPS, Range
from furc.quantizer.noise.warning import LintWarning
from furc.quantizer.observe.float_run import Feed, FloatRun
from furc.quantizer.observe.pointwise import behind
from furc.quantizer.ranges.calibrator import Observer
from furc.quantizer.ranges.histogram import Histogram
from furc.quantizer.reports.joined import lost_in_concats
from furc.quantizer.reports.report import LayerSqnr
from isa.errors import NOWHERE, counted

FEW_SAMPLES = 16
MOST_LINES = 10
FLAT = 0.01  # of a range: a function that moves by less is taken as flat
TOO_LARGE, TOO_SMALL = 40.0, 0.04  # beside the first layer's biases, see _scale_at_first_layer
CLIPPED_SHARE = 0.01
LOW_SQNR_DB = 10.0
IMPROVE = "try equalize, bias_correction and adaround; `spread` of its channels shows whether equalize can help"
RAW_MAGNITUDE = 20.0  # normalized pixels hardly reach 10; raw ones reach 255
TWICE_DEVIATION = 0.02  # pixels divided by 255 twice spread over 1/255; the spread of real images is above 0.1


def lint(
    observer: Observer,
    ranges: Mapping[str, Range] | None = None,
    layers: Sequence[LayerSqnr] = (),
    samples: Sequence[Feed] = (),
    advice: str = IMPROVE,
    noise: Sequence[LintWarning] | None = None,
) -> list[LintWarning]:
    """At most MOST_LINES findings: about the data first, then Concats, then layers, what costs most first.

    ranges: the chosen ones; layers: see `layer_sqnr`; samples: some data, to see channels and what Concats join;
    advice: what may help a layer that loses much; noise: see `noise_findings`. Where noise is given it says what layers
    cost, and the signs that clipping and a low SQNR are, are not looked at.
    """
    found = [*_samples(observer), *_inputs(observer, samples), *_constant_channels(observer, samples)]
    found += lost_in_concats(observer.graph, samples)
    if noise is not None:
        return [*found, *noise][:MOST_LINES]
    found += _clipped(observer, ranges) if ranges is not None else []
    low = sorted((layer for layer in layers if layer.db < LOW_SQNR_DB), key=lambda layer: layer.db)
    return [*found, *(_low_sqnr(layer, advice) for layer in low)][:MOST_LINES]


def _samples(observer: Observer) -> Iterator[LintWarning]:
    if observer.samples < FEW_SAMPLES:
        yield LintWarning(
            "FewSamples",
            "",
            f"only {counted(observer.samples, 'sample')} seen, ranges may miss what real data does",
            f"calibrate with at least {FEW_SAMPLES}, better 100, that look like what the model will see",
        )


def _inputs(observer: Observer, samples: Sequence[Feed]) -> Iterator[LintWarning]:
    for name in observer.graph.inputs:
        histogram = observer.histograms.get(name)
        if histogram is None or not histogram.total:
            continue
        low, high = histogram.range
        scale = _scale_at_first_layer(observer, name, samples)
        if low >= 0 and high > RAW_MAGNITUDE and not (scale is not None and scale < TOO_LARGE):
            yield LintWarning(
                "NotNormalized",
                name,
                f"input '{name}' ranges over [{low:g}, {high:g}], like raw pixels",
                "if the model was trained on normalized pixels, pass scale, mean and std",
            )
        elif 0 < _deviation(histogram) < TWICE_DEVIATION and not (scale is not None and scale > TOO_SMALL):
            yield LintWarning(
                "NormalizedTwice",
                name,
                f"input '{name}' spreads by only {_deviation(histogram):.2g} around its mean, as if normalized twice",
                "check that pixels are divided by 255 (or by std) once, by the data or by the options, not by both",
            )
        elif low >= 0 and high <= 1 and scale is not None and scale < TOO_SMALL:
            yield LintWarning(
                "DividedPixels",
                name,
                f"input '{name}' ranges over [{low:g}, {high:g}], and the first layer hardly sees it: its results move "
                f"by {scale:.2g} of its biases",
                "if the model was trained on pixels of 0 to 255, do not divide them: scale 1, with its mean and std",
            )


def _scale_at_first_layer(observer: Observer, name: str, samples: Sequence[Feed]) -> float | None:
    """How the input moves the first convolution's results, beside that layer's biases; None where that cannot be told.

    Trained biases are as large as the values they shift: 0.4 to 3 where the input is as the model wants it, measured on
    three networks, and 255 times that or less where pixels are not divided, or divided twice.
    """
    graph = observer.graph
    reached = {name}
    for node in graph.nodes:
        if not reached.intersection(node.inputs):
            continue
        bias = graph.constants.get(node.input(2))
        if node.op == "Conv":
            if bias is None or not samples or not np.any(bias):
                return None
            run = FloatRun(graph, [node.output])
            values = [np.moveaxis(run(feed)[node.output], 1, 0).reshape(len(bias), -1) for feed in samples]
            spread = np.concatenate(values, axis=1).std(axis=1)
            return float(np.median(spread) / np.median(np.abs(bias[bias != 0])))
        reached.update(node.outputs)
    return None


def _deviation(histogram: Histogram) -> float:
    bins = histogram.bins()
    if not bins.held.sum():
        return float(np.ptp(histogram.range)) / 4  # only the extremes were kept; images fill their range
    mean = np.average(bins.centre, weights=bins.held)
    return float(np.sqrt(np.average((bins.centre - mean) ** 2, weights=bins.held)))


def _constant_channels(observer: Observer, samples: Sequence[Feed]) -> Iterator[LintWarning]:
    """Channels (axis 1) of inputs that never change. Those of layers are no fault of the data, and make no error: they
    died in training."""
    looked_at = counted(len(samples), "sample")
    for name in observer.graph.inputs:
        channels = [_extremes(feed[name]) for feed in samples if feed[name].ndim >= 3]
        if len({len(low) for low, _ in channels}) != 1:  # none, or an axis of any extent, which is no channels
            continue
        low, high = np.minimum.reduce([low for low, _ in channels]), np.maximum.reduce([high for _, high in channels])
        constant = np.flatnonzero(low == high)
        if constant.size:
            shown = ", ".join(str(c) for c in constant[:8]) + (", ..." if constant.size > 8 else "")
            yield LintWarning(
                "ConstantChannels",
                name,
                f"{constant.size} of {low.size} channels of '{name}' never change in {looked_at}: {shown}",
                "check the channel order and the data",
            )


def _extremes(values: Array) -> tuple[Array, Array]:
    """Of each channel."""
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    return values.min(axis=axes), values.max(axis=axes)


def _clipped(observer: Observer, ranges: Mapping[str, Range]) -> Iterator[LintWarning]:
    for name, (low, high) in ranges.items():
        histogram = observer.histograms.get(name)
        function = behind(observer.graph, name) if histogram is not None else None
        if histogram is None:
            continue
        ends = histogram.range
        if function is not None and low < high:  # what is beyond is flat: nothing is lost
            live = function.live_range(*ends, tolerance=(high - low) * FLAT)
            low, high = (
                (min(low, ends[0]) if low <= live[0] else low),
                (max(high, ends[1]) if high >= live[1] else high),
            )
        share = clipped_share(histogram, low, high)
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
    """The part of the values outside [low, high], to within a bin and half a step: those are rounded to the end."""
    bins = histogram.bins()
    total = float(bins.held.sum())
    slack = max(histogram.width, (high - low) / STEPS / 2)
    outside = (bins.centre < low - slack) | (bins.centre > high + slack)
    return float(bins.held[outside].sum()) / total if total else 0.0


def _low_sqnr(layer: LayerSqnr, advice: str) -> LintWarning:
    return LintWarning(
        "LowSqnr",
        layer.tensor,
        f"'{layer.tensor}' keeps only {layer.db:.1f} dB of signal over quantization noise",
        advice,
        layer.at,
    )
