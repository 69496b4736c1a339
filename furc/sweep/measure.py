"""One point of a sweep: compiled and profiled. Whatever goes wrong with it is its result."""

from __future__ import annotations

from pathlib import Path

from furc.profile_files import profile_file
from furc.profiling.profile import Profile
from furc.request import Request
from isa.errors import FurcError, Loc, printable

# Of a point that is "ok", in the order of tables.
FIGURES: dict[str, type[int] | type[float]] = {
    "latency_ms": float,
    "latency_low_ms": float,
    "latency_high_ms": float,
    "npu_ms": float,
    "first_npu_ms": float,
    "host_ms": float,
    "images_per_second": float,
    "cycles": float,
    "macs": int,
    "mac_utilization": float,
    "dram_bytes": int,
    "sram_peak_bytes": int,
    "instruction_bytes": int,
    "program_loads": int,
}
OK, INTERNAL, OUT_OF_MEMORY, DIED = "ok", "InternalError", "OutOfMemory", "WorkerDied"
READY = "furc.sweep.worker"  # what a worker says first, with `this_furc`
MAY_PASS = (OUT_OF_MEMORY, DIED)  # another time, or on another computer: not kept for the next sweep
LONGEST_MESSAGE = 500

Result = dict[str, int | float | str]


def measure(model: Path, request: Request) -> Result:
    """FIGURES and status "ok"; or the name of the error as status, and its message."""
    try:
        return _figures(profile_file(model, request))
    except FurcError as error:
        where = str(Loc("", error.at.nodes, error.at.detail))  # the file lies elsewhere for every worker
        return failed(error.name, f"{where}: {error.message}" if where else error.message)
    except MemoryError:
        return failed(OUT_OF_MEMORY, "not enough memory")
    except Exception as error:  # a defect of furc; one point less is better than none
        return failed(INTERNAL, f"{type(error).__name__}: {error} (please report it, with the model)")


def failed(status: str, message: str) -> Result:
    """The result of a point without figures."""
    return {"status": status, "message": printable(message)[:LONGEST_MESSAGE]}


def is_result(value: object) -> bool:
    """True for what `measure` returns, as it was read from a file."""
    if not isinstance(value, dict) or not isinstance(value.get("status"), str):
        return False
    if value["status"] != OK:
        return set(value) == {"status", "message"} and isinstance(value["message"], str)
    return set(value) == {"status", *FIGURES} and all(_is(value[name], kind) for name, kind in FIGURES.items())


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _figures(profile: Profile) -> Result:
    rate = 1e3 * profile.batch / profile.latency_ms if profile.latency_ms else 0.0
    values = {**profile.to_json(), "images_per_second": round(rate, 6)}
    return {"status": OK, **{name: kind(values[name]) for name, kind in FIGURES.items()}}  # type: ignore[call-overload, arg-type]
