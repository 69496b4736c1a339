"""The names that the SDK's quantizer had before 0.6 (nux.quantizer), for scripts written against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from furc.data.samples import random_samples
from furc.onnx.files import Source
from furc.onnx.graph import Graph, activations
from furc.quantizer.grids.affine import Range
from furc.quantizer.optimize import optimize_graph, optimize_model
from furc.quantizer.ranges.calibrator import Observer
from furc.quantizer.ranges.method import CalibrationMethod
from furc.quantizer.write.with_ranges import quantize as _quantize
from isa.errors import QuantizeError

RANDOM_SAMPLES = 8


def post_training_quantization(
    model: Source, input_tensors: Sequence[str], calibration_data: object = None
) -> onnx.ModelProto:
    """Optimize, calibrate by MIN_MAX_ASYM and quantize. input_tensors: what the arrays of a sample are for.

    calibration_data: a dict of arrays [samples, ...], a list of dicts or of lists of arrays; noise where there is none.
    """
    graph = optimize_graph(model)
    _check_names(graph, input_tensors)
    if calibration_data is None:
        ranges = calibrate_with_random_input(graph.model())
    elif isinstance(calibration_data, Mapping):
        ranges = calibrate(graph.model(), calibration_data)
    elif isinstance(calibration_data, Iterable):
        samples = (_named(sample, input_tensors) for sample in calibration_data)
        ranges = calibrate(graph.model(), samples)
    else:
        raise QuantizeError("BadCalibrationData", f"calibration_data is {type(calibration_data).__name__}, no samples",
                            hint="pass {input name: array [samples, ...]}")  # fmt: skip
    return onnx.load_model_from_string(_quantize(graph.model(), ranges))


def quantize(model: Source, input_tensors: Sequence[str], ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """The optimized model with these ranges, as the manual of nux.quantizer calls it."""
    graph = optimize_graph(model)
    _check_names(graph, input_tensors)
    return onnx.load_model_from_string(_quantize(graph.model(), ranges))


def _check_names(graph: Graph, input_tensors: Sequence[str]) -> None:
    if set(input_tensors) != set(graph.inputs):
        raise QuantizeError(
            "UnknownInput", f"input_tensors are {list(input_tensors)}, the model's inputs are {graph.inputs}"
        )


def _named(sample: object, names: Sequence[str]) -> object:
    """A sample whose arrays stand in the order of input_tensors, by name."""
    if isinstance(sample, Mapping | np.ndarray) or not isinstance(sample, Sequence) or len(sample) != len(names):
        return sample
    return dict(zip(names, sample, strict=True))


def optimize(model: Source) -> onnx.ModelProto:
    """optimize_model by its old name."""
    return optimize_model(model)


def build_calibration_model(model: Source, input_tensors: Sequence[str] = ()) -> onnx.ModelProto:
    """The optimized model with every float activation as an output, in order; run it to see them.

    input_tensors: the model's inputs, where a script names them.
    """
    graph = optimize_graph(model)
    if input_tensors:
        _check_names(graph, input_tensors)
    shown = graph.model()
    kept = {o.name for o in shown.graph.output}
    infos = {i.name: i for i in shown.graph.value_info}
    for name in activations(graph):
        if name not in kept and name not in graph.inputs:
            shown.graph.output.append(
                infos.get(name) or helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    return shown


def calibrate(model: Source, dataset: object) -> dict[str, Range]:
    """MIN_MAX_ASYM ranges of all tensors. dataset: as `quantize_model` takes it."""
    observer = Observer(optimize_graph(model), bins=False)
    observer.observe(dataset)
    return observer.ranges(CalibrationMethod.MIN_MAX_ASYM)


def calibrate_with_random_input(model: Source, num_data: int = RANDOM_SAMPLES, seed: int = 0) -> dict[str, Range]:
    """As `calibrate`, on uniform noise in [0, 1): good to see a model compile, not for its accuracy."""
    return calibrate(model, random_samples(optimize_model(model), num_data, seed))
