"""ONNX models for every part of furc: read safely, edited, drawn, run as they are, and the oracle of INT8 results."""
