"""What marks a file as TFLite, for those who read such a file only where they meet one."""

from __future__ import annotations

IDENTIFIER = b"TFL3"  # bytes 4 to 7 of every file


def is_tflite(data: bytes, source: str = "") -> bool:
    """By what the file says of itself, or by its name where it is too damaged to say anything."""
    return data[4:8] == IDENTIFIER or source.endswith(".tflite")
