"""TFLite models: read with the schema's own bindings, handed on as ONNX models of the same operators."""
