"""Passes over the float model, before calibration. Each leaves the model's results unchanged within float rounding."""

from furc.quantizer.optimize.pipeline import optimize_graph, optimize_model

__all__ = ["optimize_graph", "optimize_model"]
