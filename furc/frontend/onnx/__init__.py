"""ONNX models in QDQ form, one file for each family of operators."""
