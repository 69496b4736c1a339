"""What ends the process that computes it: the processor traps on integers divided by zero, and on the least of them
divided by -1. ONNX Runtime's kernels look for zero, the newer ones, and for -1, none."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
DIVISIONS = ("Div", "Mod")
TRAP = "of integers by what may be zero, or -1"


def traps(op: str, divisor: Array | None, *, integers: bool) -> bool:
    """divisor: the second input of the operator, None where only a run tells. integers: its elements are."""
    return op in DIVISIONS and integers and (divisor is None or bool(np.isin(divisor, (0, -1)).any()))
