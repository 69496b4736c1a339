"""The results: QDQ ONNX, the vendor's form with ranges in the metadata, and edits of either."""
