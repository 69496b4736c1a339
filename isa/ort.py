"""The one place where ONNX Runtime sessions are made: quiet, on the processor, without telemetry."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

# Read when it is imported, by one version or another: else a device id and a database of events appear in the user's
# cache directory and are sent to the vendor.
NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")

MICROSOFT = "com.microsoft"  # the domain of ONNX Runtime's own operators


class Optimize(StrEnum):
    """How far ONNX Runtime may rewrite a graph."""

    NONE = "ORT_DISABLE_ALL"
    BASIC = "ORT_ENABLE_BASIC"
    ALL = "ORT_ENABLE_ALL"


class TensorInfo(Protocol):
    """An input or output of a session. type: as in "tensor(float)"; shape: a name or None for an open extent."""

    name: str
    type: str
    shape: Sequence[int | str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """An InferenceSession, for which ONNX Runtime ships no types. pinned: the cores that its threads stay on. weights:
    ONNX Runtime reads them where they are, and holds nothing that keeps them there."""

    inference: Any
    pinned: frozenset[int]
    weights: Mapping[str, object]

    def get_inputs(self) -> Sequence[TensorInfo]:
        found: Sequence[TensorInfo] = self.inference.get_inputs()
        return found

    def get_outputs(self) -> Sequence[TensorInfo]:
        found: Sequence[TensorInfo] = self.inference.get_outputs()
        return found

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[Any]:
        """The outputs of those names, or all of them. Raises what ONNX Runtime raises, which has no common base."""
        self.step_aside()
        made: list[Any] = self.inference.run(names, feeds)
        return made

    def step_aside(self) -> None:
        """Move this thread off the cores that the session's own stay on, where it may use another. It is not held
        there: only the system would need several runs to see that two share one."""
        if not self.pinned:
            return
        own = set(_own_cores())
        if free := own - self.pinned:
            os.sched_setaffinity(0, free)
            os.sched_setaffinity(0, own)


def cores() -> int:
    """How many this process may use."""
    return len(_own_cores()) or os.cpu_count() or 1


def kernels(model: bytes, *, few: int = 0) -> Session:
    """A session whose nodes run as they are. few: threads at most, 0 for one a core. They do not wait busily:
    on an idle machine that gains nothing here, on a busy one it loses a lot.

    Where there is a thread for every core, each but the caller's stays on a core of its own, as ONNX Runtime has them
    where it chooses their number. Free to move, one that is woken is put beside the thread that wakes it, and the two
    share a core for a whole run while another idles."""
    threads = min(few, cores()) if few else cores()  # said: left to itself, ONNX Runtime counts two hyperthreads as one
    pinned = _own_cores()[1:] if threads == cores() else []
    return session(model, threads=threads, spinning=False, integer_kernels=False, pinned=pinned)


def _own_cores() -> list[int]:
    """The numbers of those that this thread may use, where the system tells."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def session(
    model: bytes, *, optimize: Optimize = Optimize.ALL, threads: int = 0, spinning: bool = True,
    pinned: Sequence[int] = (), integer_kernels: bool = True, lean: bool = False,
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> Session:  # fmt: skip
    """A session of a serialized model. Raises what ONNX Runtime raises: its exceptions have no common base.

    threads: of an operator, 0 for one a core. spinning: its threads wait busily while it runs, which pays where nothing
    else does; never after it, when those of another session may have work. pinned: the core of each thread beside the
    caller's; none where the system puts them. integer_kernels: they may stand in for operators between Q and DQ, and
    one such pair for two. lean: nodes run so that few results are there at once, whose memory is not planned for many
    runs alike. weights: initializers that the model says are elsewhere; not copied, not to be changed.
    """
    for switch in NO_TELEMETRY:
        os.environ.setdefault(switch, "1")
    import onnxruntime  # here: it takes a quarter of a second, and most uses of its callers need no session

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the exception
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, optimize)
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if pinned:  # ONNX Runtime counts cores from 1
        options.add_session_config_entry(
            "session.intra_op_thread_affinities", ";".join(str(core + 1) for core in pinned)
        )
    if lean:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        options.enable_mem_pattern = False
    if not integer_kernels:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.disable_double_qdq_remover", "1")
    if hasattr(onnxruntime, "disable_telemetry_events"):  # where somebody has imported it before
        onnxruntime.disable_telemetry_events()
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in (weights or {}).items()}
    if values:
        options.add_external_initializers(list(values), list(values.values()))
    made = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Session(made, frozenset(pinned), values)
