"""The ten calibration methods of the vendor's quantizer, and `auto`, which chooses among them tensor by tensor."""

from __future__ import annotations

from enum import StrEnum

from isa.errors import QuantizeError


class CalibrationMethod(StrEnum):
    """How a tensor's range follows from its values. SYM: symmetric about 0, or [0, b] where nothing is negative."""

    MIN_MAX_ASYM = "MIN_MAX_ASYM"
    MIN_MAX_SYM = "MIN_MAX_SYM"
    PERCENTILE_ASYM = "PERCENTILE_ASYM"
    PERCENTILE_SYM = "PERCENTILE_SYM"
    ENTROPY_ASYM = "ENTROPY_ASYM"
    ENTROPY_SYM = "ENTROPY_SYM"
    MSE_ASYM = "MSE_ASYM"
    MSE_SYM = "MSE_SYM"
    SQNR_ASYM = "SQNR_ASYM"
    SQNR_SYM = "SQNR_SYM"

    @property
    def is_symmetric(self) -> bool:
        return self.value.endswith("_SYM")

    @property
    def criterion(self) -> str:
        """The name without _ASYM or _SYM."""
        return self.value.rpartition("_")[0]


AUTO = "auto"
WEIGHTED = "weighted"  # ranges by what their errors do to the outputs, weighted_ranges.py


def method_named(name: str) -> CalibrationMethod:
    """A method by its name in any case. Raises QuantizeError[UnknownMethod]."""
    try:
        return CalibrationMethod(name.upper().replace("-", "_"))
    except ValueError:
        known = ", ".join(CalibrationMethod)
        raise QuantizeError(
            "UnknownMethod", f"there is no calibration method '{name}'", hint=f"one of {known}"
        ) from None
