"""What-if machines that nobody builds, and that a sweep comes by."""

from __future__ import annotations

import pytest

import furc
from furc.quantizer import QuantizeOptions, quantize_model
from furc.zoo import digits
from isa.npu import target, with_constants


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_fewer_slices_than_two_pes_share_well(slices: int) -> None:
    """One slice of two PEs is none of one: division by zero."""
    npu = with_constants(target("warboy-2pe"), {"num_slices": slices})
    options = QuantizeOptions(method="MIN_MAX_ASYM")
    enf = furc.compile(quantize_model(digits.model(), [digits.calibration_images()[0][None]], options), npu=npu)
    assert furc.profile(enf, npu=npu).cycles > 0
