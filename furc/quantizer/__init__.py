"""Quantize float ONNX models to INT8: calibration, graph optimization, QDQ output. docs/quantizer.md is the guide."""

from furc.data.images import Preprocess
from furc.data.samples import image_feeds, random_samples
from furc.onnx.run import runner_for
from furc.quantizer.noise.warning import LintWarning, grouped
from furc.quantizer.nux import (
    build_calibration_model,
    calibrate,
    calibrate_with_random_input,
    optimize,
    post_training_quantization,
)
from furc.quantizer.observe.judge import Task
from furc.quantizer.optimize import optimize_model
from furc.quantizer.options import QuantizeOptions
from furc.quantizer.quantize import Outcome, quantize_explained, quantize_model
from furc.quantizer.ranges.calibrator import Calibrator, Observer
from furc.quantizer.ranges.method import CalibrationMethod
from furc.quantizer.reports.lint import lint
from furc.quantizer.reports.noise_report import NoiseReport, noise_report
from furc.quantizer.reports.report import LayerSqnr, MethodRow, TensorRanges, compare_methods, layer_sqnr, tensor_ranges
from furc.quantizer.reports.report_html import report_html
from furc.quantizer.write.calibrated import is_calibrated, ranges_of
from furc.quantizer.write.editor import ModelEditor, TensorType, get_output_names, get_pure_input_names
from furc.quantizer.write.with_ranges import quantize

__all__ = [
    "CalibrationMethod",
    "Calibrator",
    "LayerSqnr",
    "LintWarning",
    "MethodRow",
    "ModelEditor",
    "NoiseReport",
    "Observer",
    "Outcome",
    "Preprocess",
    "QuantizeOptions",
    "Task",
    "TensorRanges",
    "TensorType",
    "build_calibration_model",
    "calibrate",
    "calibrate_with_random_input",
    "compare_methods",
    "get_output_names",
    "get_pure_input_names",
    "grouped",
    "image_feeds",
    "is_calibrated",
    "layer_sqnr",
    "lint",
    "noise_report",
    "optimize",
    "optimize_model",
    "post_training_quantization",
    "quantize",
    "quantize_explained",
    "quantize_model",
    "random_samples",
    "ranges_of",
    "report_html",
    "runner_for",
    "tensor_ranges",
]
