"""Readers of model files: each gives a dfg graph."""

from furc.frontend.load import load_onnx

__all__ = ["load_onnx"]
