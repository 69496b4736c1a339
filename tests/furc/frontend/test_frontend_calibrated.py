"""The vendor's form: a float model with ranges in its metadata compiles to what its QDQ form compiles to."""

from __future__ import annotations

from furc.compiler import compile
from furc.quantizer import CalibrationMethod, QuantizeOptions, quantize, quantize_model
from furc.zoo import digits


def test_ranges_in_metadata_and_qdq_give_the_same_program() -> None:
    feeds = [{"images": image[None]} for image in digits.calibration_images()[:16]]
    forms = [
        quantize_model(digits.model(), feeds, QuantizeOptions(method=CalibrationMethod.PERCENTILE_SYM, form=form))
        for form in ("qdq", "calibrated")
    ]
    qdq, calibrated = (compile(form, target_npu="warboy") for form in forms)
    assert not any(node.op_type == "QuantizeLinear" for node in forms[1].graph.node)
    assert (calibrated.image, calibrated.segments) == (qdq.image, qdq.segments)


def test_a_quantized_model_that_kept_its_ranges_is_not_quantized_again() -> None:
    feeds = [{"images": image[None]} for image in digits.calibration_images()[:4]]
    calibrated = quantize_model(digits.model(), feeds, QuantizeOptions(form="calibrated"))
    assert compile(quantize(calibrated)).image == compile(calibrated).image
