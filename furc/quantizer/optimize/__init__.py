"""Passes over the float model, before calibration. Each leaves the model's results unchanged within float rounding."""

from furc.quantizer.optimize.pipeline import fold_all, optimize_graph, optimize_model

__all__ = ["fold_all", "optimize_graph", "optimize_model"]
