"""The names that the SDK's quantizer had before 0.6, for scripts written against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import helper

from furc.data.samples import random_samples
from furc.onnx.files import Source
from furc.onnx.graph import Array, activations
from furc.quantizer.affine import Range
from furc.quantizer.calibrator import Observer
from furc.quantizer.float_run import Feed
from furc.quantizer.method import CalibrationMethod
from furc.quantizer.optimize import optimize_graph, optimize_model
from furc.quantizer.quantize import quantize
from isa.errors import QuantizeError

RANDOM_SAMPLES = 8


def post_training_quantization(
    model: Source, input_tensors: Sequence[str], calibration_data: Iterable[Sequence[Array] | Feed]
) -> onnx.ModelProto:
    """Optimize, calibrate by MIN_MAX_ASYM and quantize. input_tensors: what the arrays of a sample are for."""
    graph = optimize_graph(model)
    unknown = set(input_tensors).symmetric_difference(graph.inputs)
    if unknown:
        raise QuantizeError(
            "UnknownInput", f"input_tensors are {list(input_tensors)}, the model's inputs are {graph.inputs}"
        )
    samples = (s if isinstance(s, Mapping) else dict(zip(input_tensors, s, strict=True)) for s in calibration_data)
    return onnx.load_model_from_string(quantize(graph.model(), calibrate(graph.model(), samples)))


def optimize(model: Source) -> onnx.ModelProto:
    """optimize_model by its old name."""
    return optimize_model(model)


def build_calibration_model(model: Source) -> onnx.ModelProto:
    """The optimized model with every float activation as an output, in order; run it to see them."""
    graph = optimize_graph(model)
    shown = graph.model()
    kept = {o.name for o in shown.graph.output}
    infos = {i.name: i for i in shown.graph.value_info}
    for name in activations(graph):
        if name not in kept and name not in graph.inputs:
            shown.graph.output.append(
                infos.get(name) or helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
    return shown


def calibrate(model: Source, dataset: Iterable[Sequence[Array] | Feed]) -> dict[str, Range]:
    """MIN_MAX_ASYM ranges of all tensors."""
    observer = Observer(optimize_graph(model), bins=False)
    observer.observe(dataset)
    return observer.ranges(CalibrationMethod.MIN_MAX_ASYM)


def calibrate_with_random_input(model: Source, num_data: int = RANDOM_SAMPLES, seed: int = 0) -> dict[str, Range]:
    """As `calibrate`, on uniform noise in [0, 1): good to see a model compile, not for its accuracy."""
    return calibrate(model, random_samples(optimize_model(model), num_data, seed))
