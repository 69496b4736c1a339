"""furc quantize: a float model to INT8, calibrated on data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from furc.cli.command import command as declare
from furc.cli.display import saved, say
from furc.cli.leaving import warn_of_model
from furc.cli.progress import Bar
from furc.cli.request import FILE, force_option, input_shape_option, open_batch_option, shapes_of
from furc.cli.samples import METHODS, sample_options
from furc.data.samples import SampleSource
from furc.onnx.files import NEWEST_OPSET, OLDEST_OPSET
from furc.output import MODEL, Outputs
from furc.quantize_files import quantize_file
from furc.quantizer import LintWarning, QuantizeOptions, Task, grouped
from furc.request import Request
from isa.errors import QuantizeError, counted


@declare("quantize", short_help="Quantize a float model to INT8.")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, metavar="FILE.onnx", help="The quantized model.")
@sample_options
@click.option("--method", type=click.Choice((*METHODS, "weighted", "auto"), case_sensitive=False), default="weighted",
              help="How ranges follow from values: the vendor's ten; weighted by what errors do to the outputs; auto "
                   "tries several.")  # fmt: skip
@click.option("--percentage", type=float, default=99.99, metavar="P",
              help="Of PERCENTILE methods: values inside the range, in percent.")  # fmt: skip
@click.option("--budget", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="N",
              help="Of auto: time of so many float inferences a sample, in all.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(("qdq", "calibrated")), default="qdq",
              help="An INT8 QDQ model, or the float model with ranges in its metadata (vendor's 0.10).")  # fmt: skip
@click.option("--input-type", type=click.Choice(("float32", "uint8", "int8")), default="float32",
              help="What the result takes. uint8 spares the host the quantization of the input.")  # fmt: skip
@click.option(
    "--split/--no-split", default=True, help="Compute channels in groups with grids of their own where it pays."
)
@click.option("--keep-float", default="", metavar="LAYER[,LAYER]",
              help="Layers that stay in float on the host, by name or pattern.")  # fmt: skip
@click.option("--task", type=click.Choice(("auto", "none", "classify", "detect")), default="auto",
              help="What stands behind the outputs: nothing, softmax or sigmoid; errors count behind it.")  # fmt: skip
@click.option("--equalize/--no-equalize", default=True, help="Even out channel ranges between layers first.")
@click.option("--bias-correction/--no-bias-correction", default=True, help="Let layers make up for errors before them.")
@click.option("--adaround", is_flag=True, help="Choose the rounding of each weight by its effect. Slow.")
@click.option(
    "--opset", type=click.IntRange(OLDEST_OPSET, NEWEST_OPSET), default=13, help="ONNX operator set of the result."
)
@input_shape_option
@open_batch_option
@click.option("--strict", is_flag=True, help="Write nothing where there are warnings.")
@force_option
def command(
    data: SampleSource,
    model: Path,
    output: Path,
    method: str,
    percentage: float,
    budget: float,
    form: Literal["qdq", "calibrated"],
    input_type: Literal["float32", "uint8", "int8"],
    split: bool,
    keep_float: str,
    task: str,
    equalize: bool,
    bias_correction: bool,
    adaround: bool,
    opset: int,
    input_shape: tuple[str, ...],
    batch: int | None,
    strict: bool,
    force: bool,
) -> None:
    """Quantize MODEL, float ONNX or TFLite, to INT8. Ranges of activations come from calibration data."""
    options = QuantizeOptions(
        method=method,
        percentage=percentage,
        budget=budget,
        split=split,
        keep_float=tuple(name for name in keep_float.split(",") if name),
        task=Task(task),
        equalize=equalize,
        bias_correction=bias_correction,
        adaround=adaround,
        form=form,
        input_dtype=input_type,
        opset=opset,
        input_shapes=shapes_of(input_shape),
    )
    outputs = Outputs((model,) if data.path is None else (model, data.path), force)
    outputs.check(output, MODEL)
    warn_of_model(model, Request(batch=batch, input_shapes=options.input_shapes))
    with Bar() as bar:
        quantized = quantize_file(model, data, options, bar, batch=batch)
    for line in quantized.done:
        say(f"Done: {line}", err=True)
    _warn(quantized.warnings, strict)
    if quantized.uncompilable is not None:
        say(str(quantized.uncompilable).replace("error[", "warning[furc compile will say "), err=True)
    outputs.add(output, quantized.model.SerializeToString(deterministic=True), MODEL)
    outputs.write()
    say(f"Quantized with {quantized.method.upper()} on {counted(quantized.samples, 'sample')}", err=True)
    saved(output)


def _warn(found: Sequence[LintWarning], strict: bool) -> None:
    """Show what looks wrong. Raises QuantizeError[SuspectData] where nothing may."""
    for text in grouped(found):
        say(text, err=True)
    if found and strict:
        raise QuantizeError(
            "SuspectData",
            f"--strict, and {counted(len(found), 'warning')}: nothing is written",
            hint="; ".join(dict.fromkeys(warning.hint for warning in found)),
        )
