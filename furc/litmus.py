"""Does a float model make it all the way? Optimize, quantize, compile, run once."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from furc.build import Built, link
from furc.data.inputs import random_inputs
from furc.data.samples import random_samples
from furc.onnx.files import Source, load
from furc.onnx.graph import fixed_batch
from furc.output import DUMP_MARK
from furc.profile_files import profile_of
from furc.profiling.profile import Profile
from furc.quantizer import QuantizeOptions, optimize_model, quantize_model
from furc.report.dot import dot
from furc.report.memory_html import memory_html
from furc.report.trace import chrome_trace
from furc.request import Request
from furc.runtime.session import Session

SAMPLES, METHOD = 8, "MIN_MAX_ASYM"  # the vendor's
Step = Callable[[int, str, bool], None]  # the number of a step, what was done, whether it worked


@dataclass(frozen=True, slots=True, kw_only=True)
class LitmusResult:
    """A model that made it. drawing: its dfg for Graphviz."""

    built: Built
    profile: Profile
    drawing: str

    def archive(self) -> bytes:
        """A zip archive: versions, the graph, the memory analysis, profile and trace."""
        assert self.built.program is not None
        enf = self.built.enf
        facts = {
            "furc_version": enf.furc_version, "model": self.profile.model, "target": self.profile.target,
            "configuration": enf.fingerprint, "calibration": f"{SAMPLES} samples of noise, {METHOD}",
        }  # fmt: skip
        parts = {
            "meta.yaml": "".join(f"{key}: {json.dumps(value)}\n" for key, value in facts.items()),
            "compiler/memory-analysis.html": memory_html(self.built.program, self.profile.recorded),
            "compiler/model.dot": self.drawing,
            "runtime/profile.json": json.dumps(self.profile.to_json(), indent=1) + "\n",
            "runtime/trace.json": chrome_trace(self.profile),
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.comment = DUMP_MARK.encode()
            for name, text in parts.items():
                opened.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()


def litmus(
    model: Path | str, request: Request | None = None, *, quantized: bool = False, step: Step = lambda *_: None
) -> LitmusResult:
    """Take a float model (quantized: an INT8 one) through all steps, calibrated on noise. Accuracy is not looked at.

    step: is told of each step that worked, and of the one that did not before its error is raised. Raises FurcError.
    """
    asked, source = request or Request(), str(model)
    content: Source = source
    if not quantized:
        with _told(step, 1, "load and optimize"):
            loaded = load(source)
            optimized = optimize_model(loaded, fixed_batch(loaded, asked.input_shapes, asked.open_batch))
        with _told(step, 2, "quantize"):
            plain = QuantizeOptions(method=METHOD, equalize=False, bias_correction=False)
            content = quantize_model(optimized, random_samples(optimized, SAMPLES), plain)
    options = asked.options()
    with _told(step, 3, "load", done=False):
        graph = asked.load(content, source)
    drawing = dot(graph)
    with _told(step, 3, "compile"):
        built = link(graph, options)
    measured = profile_of(built.enf, options.npu)
    session = Session(built.enf, npu=options.npu)
    with _told(step, 4, "run"):
        session.run(random_inputs(session.inputs))
    return LitmusResult(built=built, profile=measured, drawing=drawing)


@contextmanager
def _told(step: Step, number: int, what: str, done: bool = True) -> Iterator[None]:
    try:
        yield
    except Exception:
        step(number, what, False)
        raise
    if done:
        step(number, what, True)
