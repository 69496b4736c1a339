"""Quantize float ONNX models to INT8: calibration, graph optimization, QDQ output."""

from furc.quantizer.calibrated import is_calibrated, ranges_of
from furc.quantizer.calibrator import Calibrator, Observer
from furc.quantizer.editor import ModelEditor, TensorType, get_output_names, get_pure_input_names
from furc.quantizer.float_run import runner_for
from furc.quantizer.method import CalibrationMethod
from furc.quantizer.optimize import optimize_model
from furc.quantizer.options import QuantizeOptions
from furc.quantizer.quantize import quantize, quantize_model

__all__ = [
    "CalibrationMethod",
    "Calibrator",
    "ModelEditor",
    "Observer",
    "QuantizeOptions",
    "TensorType",
    "get_output_names",
    "get_pure_input_names",
    "is_calibrated",
    "optimize_model",
    "quantize",
    "quantize_model",
    "ranges_of",
    "runner_for",
]
