"""Does a float model make it all the way? Optimize, quantize, compile, run once."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from furc.build import Built, link
from furc.data.inputs import random_inputs
from furc.data.samples import random_samples
from furc.frontend.fitting import fitted
from furc.frontend.onnx.hosted import Cause
from furc.onnx.files import Source, in_file, load
from furc.onnx.model_proto import fixed_batch
from furc.output import DUMP_MARK
from furc.profile_files import profile_of
from furc.profiling.profile import Profile
from furc.quantizer import QuantizeOptions, optimize_model, quantize_model
from furc.report.dot import dot
from furc.report.memory_html import memory_html
from furc.report.trace import chrome_trace
from furc.request import Request
from furc.runtime.session import Session
from furc.version import __version__
from passes.ir.graph import Graph
from passes.options import CompileOptions

SAMPLES, METHOD = 8, "MIN_MAX_ASYM"  # the vendor's
Step = Callable[[int, str, bool], None]  # the number of a step, what was done, whether it worked


class Dump:
    """Files about a model on its way, by name, as they are made: there as far as it came."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}

    def archive(self) -> bytes:
        """A zip archive of them."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.comment = DUMP_MARK.encode()
            for name in sorted(self.parts):
                opened.writestr(zipfile.ZipInfo(name), self.parts[name], zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


def litmus(
    model: Path | str,
    request: Request | None = None,
    *,
    quantized: bool = False,
    step: Step = lambda *_: None,
    dump: Dump | None = None,
) -> Profile:
    """Take a float model (quantized: an INT8 one) through all steps, calibrated on noise; what a run costs.

    Accuracy is not looked at. step: is told of each step that worked, and of the one that did not before its error is
    raised. dump: gets versions, the graph, the memory analysis, profile and trace, and an error. Raises FurcError.
    """
    filled = dump or Dump()
    try:
        with in_file(model):
            return _taken_through(str(model), request or Request(), quantized, step, filled.parts)
    except Exception as error:
        filled.parts["error.txt"] = f"{error}\n"
        raise


def _taken_through(source: str, asked: Request, quantized: bool, step: Step, parts: dict[str, str]) -> Profile:
    content: Source = source
    options = asked.options()
    parts["meta.yaml"] = _facts(source, options)
    if not quantized:
        with _told(step, 1, "load and optimize"):
            loaded = load(source)
            optimized = optimize_model(loaded, fixed_batch(loaded, asked.input_shapes, asked.open_batch))
        with _told(step, 2, "quantize"):
            plain = QuantizeOptions(method=METHOD, split=False, equalize=False, bias_correction=False)
            content = quantize_model(optimized, random_samples(optimized, SAMPLES), plain)

    def read(leave: Mapping[str, Cause]) -> Graph:
        with _told(step, 3, "load", done=False):
            graph = asked.load(content, source, leave)
        parts["compiler/model.dot"] = dot(graph)
        return graph

    def compiled(graph: Graph) -> Built:
        with _told(step, 3, "compile"):
            return link(graph, options)

    built = fitted(read, compiled)
    measured = profile_of(built.enf, options.npu)
    assert built.program is not None
    parts["compiler/memory-analysis.html"] = memory_html(built.program, measured.recorded)
    parts["runtime/profile.json"] = json.dumps(measured.to_json(), indent=1) + "\n"
    parts["runtime/trace.json"] = chrome_trace(measured)
    session = Session(built.enf, npu=options.npu)
    with _told(step, 4, "run"):
        session.run(random_inputs(session.inputs))
    return measured


def _facts(source: str, options: CompileOptions) -> str:
    facts = {
        "furc_version": __version__, "model": Path(source).name, "target": options.npu.title,
        "configuration": options.npu.fingerprint(), "calibration": f"{SAMPLES} samples of noise, {METHOD}",
    }  # fmt: skip
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in facts.items())


@contextmanager
def _told(step: Step, number: int, what: str, done: bool = True) -> Iterator[None]:
    try:
        yield
    except Exception:
        step(number, what, False)
        raise
    if done:
        step(number, what, True)
