"""furc quantize: a float model to INT8, calibrated on data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from furc.cli.command import command as declare
from furc.cli.float_models import DataOptions, Sample, data_options
from furc.cli.request import FILE, shapes_of

if TYPE_CHECKING:
    import onnx

    from furc.quantizer import LintWarning, Outcome, QuantizeOptions

METHODS = tuple(
    f"{criterion}_{kind}"
    for criterion in ("MIN_MAX", "PERCENTILE", "ENTROPY", "MSE", "SQNR")
    for kind in ("ASYM", "SYM")
)
LINTED = 16  # samples that the warnings look at: fewer are a warning themselves
SHOWN_CHANNELS = 4  # samples in which channels that never change are looked for


@declare("quantize", short_help="Quantize a float model to INT8.")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, metavar="FILE.onnx", help="The quantized model.")
@data_options
@click.option("--method", type=click.Choice((*METHODS, "weighted", "auto"), case_sensitive=False), default="weighted",
              help="How ranges follow from values: the vendor's ten; weighted by what errors do to the outputs; auto "
                   "tries several.")  # fmt: skip
@click.option("--percentage", type=float, default=99.99, metavar="P",
              help="Of PERCENTILE methods: values inside the range, in percent.")  # fmt: skip
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
@click.option("--bias-correction/--no-bias-correction", default=True, help="Correct the mean error of each channel.")
@click.option("--adaround", is_flag=True, help="Choose the rounding of each weight by its effect. Slow.")
@click.option("--opset", type=click.IntRange(10, 21), default=13, help="ONNX operator set of the result.")
@click.option("--input-shape", multiple=True, metavar="NAME=1,3,640,640",
              help="The shape of an input that the model leaves open. Repeatable.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Write nothing where there are warnings about the data.")
def command(
    data: DataOptions,
    model: Path,
    output: Path,
    method: str,
    percentage: float,
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
    strict: bool,
) -> None:
    """Quantize MODEL, a float ONNX model, to INT8. Ranges of activations come from calibration data."""
    from furc.cli.float_models import read_float_model, read_samples
    from furc.cli.output import Outputs
    from furc.cli.progress import Bar
    from furc.quantizer import QuantizeOptions, Task, quantize_explained

    shapes = shapes_of(input_shape)
    options = QuantizeOptions(
        method=method,
        percentage=percentage,
        split=split,
        keep_float=tuple(name for name in keep_float.split(",") if name),
        task=Task(task),
        equalize=equalize,
        bias_correction=bias_correction,
        adaround=adaround,
        form=form,
        input_dtype=input_type,
        opset=opset,
        input_shapes=shapes,
    )
    loaded = read_float_model(model)
    samples = read_samples(loaded, shapes, data)
    outputs = Outputs((model,) if data.path is None else (model, data.path))
    outputs.check(output)
    with Bar() as bar:
        outcome = quantize_explained(loaded, samples, options, bar)
    for line in outcome.done():
        click.echo(f"Done: {line}", err=True)
    if data.random is None:
        _warn(_lint(loaded, samples, options, outcome), strict)  # noise has nothing to say about the model's data
    outputs.add(output, outcome.model.SerializeToString(deterministic=True))
    outputs.write()
    click.echo(f"Quantized with {method.upper()} on {len(samples)} samples", err=True)
    click.echo(f"The output has been saved to {output}", err=True)


def _warn(found: list[LintWarning], strict: bool) -> None:
    """Show what looks wrong. Raises QuantizeError[SuspectData] where nothing may."""
    from isa.errors import QuantizeError

    for warning in found:
        click.echo(str(warning), err=True)
    if found and strict:
        raise QuantizeError(
            "SuspectData",
            f"--strict, and {len(found)} of what looks wrong with the calibration data",
            hint="; ".join(warning.hint for warning in found),
        )


def _lint(
    loaded: onnx.ModelProto, samples: list[Sample], options: QuantizeOptions, outcome: Outcome
) -> list[LintWarning]:
    """What looks wrong with the data, and which layers cost most."""
    from furc.quantizer import Observer, lint
    from furc.quantizer.optimize import optimize_graph

    graph = optimize_graph(loaded, options.input_shapes, options.opset)
    observer = Observer(graph, only=graph.inputs)
    observer.observe(samples[:LINTED])
    return lint(observer, samples=samples[:SHOWN_CHANNELS], noise=outcome.findings())
