"""The NPU's numbers against those of a reference, and the smallest model that shows where they differ."""

from furc.verify.compare import Against, Checked, Error, Verification, verify, verify_file, verify_litert
from furc.verify.smallest import minimal
from furc.verify.smallest_tflite import minimal_tflite

__all__ = [
    "Against",
    "Checked",
    "Error",
    "Verification",
    "minimal",
    "minimal_tflite",
    "verify",
    "verify_file",
    "verify_litert",
]
