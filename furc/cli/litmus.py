"""furc litmus: does a float model make it all the way? Optimize, quantize, compile, run once."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE, Request, takes_request

if TYPE_CHECKING:
    import onnx

    from furc.cli.build import Built
    from passes.ir.graph import Graph

T = TypeVar("T")
Parts = dict[str, str]
SAMPLES, METHOD = 8, "MIN_MAX_ASYM"  # the vendor's


@declare("litmus", short_help="Check that a float model makes it all the way.")
@click.argument("model", type=FILE)
@click.option("--skip-quantization", is_flag=True, help="MODEL is quantized already.")
@click.option("--dump", type=FILE, metavar="PREFIX",
              help="Write PREFIX.zip: versions, the graph, the memory analysis and a trace.")  # fmt: skip
@takes_request
def command(request: Request, model: Path, skip_quantization: bool, dump: Path | None) -> None:
    """Check that MODEL runs on the NPU: load and optimize it, quantize it on noise, compile it, run it once.

    Accuracy is not looked at: calibration is 8 samples of noise.
    """
    from furc.cli.output import Outputs
    from furc.frontend.onnx.reading import in_file

    outputs = Outputs((model,))
    path = dump.with_name(f"{dump.name}.zip") if dump is not None else None
    outputs.check(path)
    parts: Parts = {}
    try:
        with in_file(model):
            _steps(request, model, skip_quantization, parts)
    except Exception as error:
        parts["error.txt"] = f"{error}\n"
        raise
    finally:  # what the steps before made is there to be looked at
        if path is not None and parts:
            outputs.add(path, _archive(parts))
            outputs.write()
            click.echo(f"The output has been saved to {path}", err=True)


def _steps(request: Request, model: Path, skip_quantization: bool, parts: Parts) -> None:
    """parts: files of the dump, by name, as they are made."""
    from furc.frontend import load_onnx
    from furc.report.dot import dot
    from furc.report.memory_html import memory_html
    from furc.report.profile import summarize
    from furc.report.recorded import record
    from furc.report.trace import chrome_trace
    from furc.runtime.session import Session, random_inputs

    options = request.options()
    parts["meta.yaml"] = _meta(model, options)
    source: Any = model
    if not skip_quantization:
        optimized = _step(1, "load and optimize", lambda: _optimized(model, request))
        source = _step(2, "quantize", lambda: _quantized(optimized))
    graph: Graph = _step(3, "load", lambda: load_onnx(source, input_shapes=request.input_shapes, source=str(model)), "")
    parts["compiler/model.dot"] = dot(graph)
    built: Built = _step(3, "compile", lambda: _compiled(graph, options))
    measured = summarize(record(built.enf, options.npu))
    assert built.program is not None
    parts["compiler/memory-analysis.html"] = memory_html(built.program, measured.recorded)
    parts["runtime/profile.json"] = json.dumps(measured.to_json(), indent=1) + "\n"
    parts["runtime/trace.json"] = chrome_trace(measured)
    session = Session(built.enf, npu=options.npu)
    _step(4, "run", lambda: session.run(random_inputs(built.enf, 0)))
    click.echo(f"{measured.model} on {measured.target}: latency {measured.latency_ms:.3f} ms, of which NPU "
               f"{measured.npu_ms:.3f} ms")  # fmt: skip


def _step(number: int, what: str, work: Callable[[], T], done: str = "Passed") -> T:
    """Says what passed; an error says for itself what did not, behind the step it happened in."""
    try:
        result = work()
    except Exception:
        click.echo(f"[Step {number}] Failed: {what}", err=True)
        raise
    if done:
        click.echo(f"[Step {number}] {done}: {what}")
    return result


def _optimized(path: Path, request: Request) -> onnx.ModelProto:
    from furc.cli.float_models import read_float_model
    from furc.quantizer import optimize_model

    return optimize_model(read_float_model(path), request.input_shapes)


def _quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    from furc.quantizer import QuantizeOptions, quantize_model, random_samples

    return quantize_model(model, random_samples(model, SAMPLES), QuantizeOptions(
        method=METHOD, equalize=False, bias_correction=False
    ))  # fmt: skip


def _compiled(graph: Graph, options: Any) -> Built:
    from furc.cli.build import linked
    from passes.pipeline import Listener

    return linked(graph, options, Listener())


def _meta(model: Path, options: Any) -> str:
    from furc.version import __version__

    meta = {
        "furc_version": __version__, "model": model.name, "target": options.npu.name,
        "configuration": options.npu.fingerprint(), "calibration": f"{SAMPLES} samples of noise, {METHOD}",
    }  # fmt: skip
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in meta.items())


def _archive(parts: Parts) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(parts):
            archive.writestr(zipfile.ZipInfo(name), parts[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
