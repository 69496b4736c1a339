"""Run a case on the simulated NPU and judge what comes out."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import onnx
from cases import Case, Quantized, quantized
from numpy.typing import NDArray

from furc.compiler import compile_graph
from furc.frontend import load_onnx
from furc.onnx.run import RunModel
from furc.runtime.session import Session
from isa.errors import FurcError
from isa.npu import target
from passes.analysis.host_share import calls, host_operators
from passes.ir.op import Runs
from passes.options import CompileOptions

Array = NDArray[Any]
NPU = target("warboy")
STEPS = 1.5  # of the result's grid: 0.5 for rounding it, 1 for the operator


class Verdict(StrEnum):
    """What became of a case."""

    NPU = "on the NPU"
    HOST = "on the host"
    REFUSED = "refused"
    NO_CASE = "no INT8 case"
    WRONG = "wrong"


class Judged(NamedTuple):
    """reason: of a refusal, with the error's name; why the host has it; of a wrong result, how far it is off."""

    case: Case
    verdict: Verdict
    error: str = ""
    reason: str = ""


def judge(case: Case) -> Judged:
    """Compile and run. Everything but a FurcError passes through: it is a crash."""
    try:
        made = quantized(case)
    except ValueError as error:
        return Judged(case, Verdict.NO_CASE, "", str(error))
    if not any(array.dtype == np.float32 for array in made.feeds.values()) or not any(made.steps):
        return Judged(case, Verdict.NO_CASE, "", "nothing in it is a float tensor that changes from run to run")
    try:
        graph = load_onnx(made.model, max_npu_segments="all")
        left = [o.reason for call in calls(graph) for o in host_operators(call, graph) if o.reason]
        computes = any(op.runs is not Runs.HOST for op in graph.ops)
        session = Session(compile_graph(graph, CompileOptions(npu=NPU, batch=graph.batch)).enf, npu=NPU)
        results = session.run(made.feeds)
    except FurcError as error:
        return Judged(case, Verdict.REFUSED, error.name, error.message)
    wrong = _wrong(case, made, results)
    if wrong:
        return Judged(case, Verdict.WRONG, "", wrong)
    if left:
        return Judged(case, Verdict.HOST, "UnsupportedOperator", left[0])
    return Judged(case, Verdict.NPU, "", "" if computes else "nothing to compute")


def _wrong(case: Case, made: Quantized, results: dict[str, Array]) -> str:
    """How far a result is off; nothing where it is inside the bound.

    What the inputs' grids cost is how far the float model moves when it gets them as the grids hold them."""
    rounded = {name: _through_grid(made.model, name, array) for name, array in made.feeds.items()}
    reference = list(RunModel(made.reference.SerializeToString(), plain=True, threads=1)(rounded).values())
    for tensor, shipped, exact, step in zip(case.model.graph.output, case.outputs, reference, made.steps, strict=True):
        got = results[tensor.name].astype(np.float64)
        if got.shape != shipped.shape:
            return f"shape {got.shape}, expected {shipped.shape}"
        allowed = np.abs(exact.astype(np.float64) - shipped) + STEPS * step + 1e-6
        off = np.abs(got - shipped) - allowed
        if got.size and np.nanmax(off) > 0:
            return f"{np.nanmax(off) / step:.2f} steps of {step:.4g} too far"
    return ""


def _through_grid(model: onnx.ModelProto, name: str, array: Array) -> Array:
    """What the quantized model makes of an input."""
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    if f"{name}.s" not in held:
        return array
    scale, zero = np.float32(held[f"{name}.s"]), np.float32(held[f"{name}.z"])
    stored = np.clip(np.rint(array / scale) + zero, -128, 127)
    rounded: Array = ((stored - zero) * scale).astype(np.float32)
    return rounded
