"""A profile as tables: totals, then the operators with the most cycles."""

from __future__ import annotations

from furc.profiling.host import HostWork
from furc.profiling.profile import OperatorProfile, Profile
from furc.report.tables import Column, Table, count, nodes, percent, shape
from isa.errors import counted
from isa.instructions import Jump

COLUMNS = (
    Column("operator"),
    Column("onnx nodes", long=True),
    Column("shape", spare=2),
    Column("cycles", right=True),
    Column("load", right=True),
    Column("compute", right=True),
    Column("store", right=True),
    Column("MAC use", right=True, spare=1),
    Column("bound by"),
)
HOST_COLUMNS = (Column("tensor", long=True), Column("shape"), Column("ms", right=True), Column("why", long=True))


def summary_table(profile: Profile) -> Table:
    """What a run costs, one quantity a row."""
    npu = profile.recorded.npu
    latency, use = f"{profile.latency_ms:.3f} ms", percent(profile.mac_utilization)
    sram = f"{percent(profile.sram_peak_bytes / npu.sram_bytes)} of {count(npu.sram_bytes)} B"
    rows = (
        ("latency", latency, f"of which NPU {profile.npu_ms:.3f} ms, host {profile.host_ms:.3f} ms"),
        ("expected of a card", _band(profile), f"NPU time is off by up to {percent(npu.timing_error)}"),
        ("first run", f"{profile.first_npu_ms + profile.host_ms:.3f} ms", _weights(profile)),
        ("lower bound", f"{profile.lower_bound.ms:.3f} ms", _bound(profile)),
        ("throughput", f"{_images_per_second(profile):.1f} images/s", f"batch {profile.batch}, one run at a time"),
        ("NPU cycles", count(profile.cycles), f"at {npu.clock_hz / 1e9:g} GHz"),
        ("MACs", count(profile.macs), f"{use} of the peak of {count(npu.macs_per_cycle)} a cycle"),
        ("DRAM traffic", f"{count(profile.dram_bytes)} B", f"{_rate(profile):.2f} GB/s on average"),
        ("SRAM peak", f"{count(profile.sram_peak_bytes)} B", sram),
        ("instructions", f"{count(profile.instruction_bytes)} B", _loads(profile)),
    )
    title = f"{profile.model} on {profile.target}, modelled"
    return Table(title=title, columns=(Column(""), Column("", right=True), Column("", long=True)), rows=rows)


def _weights(profile: Profile) -> str:
    resident, reloaded = profile.recorded.weights
    return f"loads {count(resident)} B of weights that then stay in SRAM; every run {count(reloaded)} B"


def _bound(profile: Profile) -> str:
    mac, fetch, dram = profile.lower_bound
    parts = f"MAC {mac:.3f}, fetch {fetch:.3f}, DRAM {dram:.3f} ms"
    bound = profile.lower_bound.ms
    return f"{parts}; the NPU takes {profile.npu_ms / bound:.1f} times that" if bound else parts


def operator_table(profile: Profile, top: int | None = None) -> Table:
    """Operators of the NPU by cycles. top: how many, all by default."""
    found = sorted((o for o in profile.operators if o.bound_by != "host"), key=lambda o: -o.cycles)
    shown = found if top is None else found[:top]
    footer = [_total(counted(len(found), "operator"), found, profile)]
    if len(shown) < len(found):
        footer.insert(0, _total(f"{len(found) - len(shown)} not shown", found[len(shown) :], profile))
    return Table(
        title="Operators on the NPU by cycles; engines overlap, so that these add up to more than the run",
        columns=COLUMNS,
        rows=tuple(_row(operator) for operator in shown),
        footer=tuple(footer),
    )


def host_table(profile: Profile) -> Table:
    """Operators on the host, in the order they run."""
    columns = (Column("operator"), *HOST_COLUMNS)
    return Table(title="Operators on the host", columns=columns, rows=tuple(map(host_row, profile.host)))


def host_row(work: HostWork) -> tuple[str, ...]:
    """An operator on the host: its name, then HOST_COLUMNS."""
    why = "; ".join(part for part in (work.reason, work.remedy) if part)
    return (work.name, work.tensor, shape(work.shape), f"{work.ms:.3f}", why)


def _row(o: OperatorProfile) -> tuple[str, ...]:
    cycles = (o.cycles, o.load_cycles, o.compute_cycles, o.store_cycles)
    use = percent(o.mac_utilization) if o.macs else ""
    return (o.name, nodes(o.onnx_nodes), shape(o.shape), *map(count, cycles), use, str(o.bound_by))


def _total(name: str, operators: list[OperatorProfile], profile: Profile) -> tuple[str, ...]:
    load, compute, store = (
        sum(getattr(o, f"{part}_cycles") for o in operators) for part in ("load", "compute", "store")
    )
    macs, peak = sum(o.macs for o in operators), profile.recorded.npu.macs_per_cycle
    cycles = load + compute + store
    use = percent(macs / (cycles * peak)) if cycles else ""
    return (name, "", "", *map(count, (cycles, load, compute, store)), use, "")


def _band(profile: Profile) -> str:
    return f"{profile.latency_low_ms:.3f} to {profile.latency_high_ms:.3f} ms"


def _images_per_second(profile: Profile) -> float:
    return 1e3 * profile.batch / profile.latency_ms if profile.latency_ms else 0.0


def _rate(profile: Profile) -> float:
    return profile.dram_bytes / (profile.npu_ms * 1e6) if profile.npu_ms else 0.0


def _loads(profile: Profile) -> str:
    if profile.program_loads:
        segments = counted(profile.program_loads, "segment")
        return f"{segments} loaded while running; switching takes {_switching_ms(profile):.3f} ms"
    programs = len(profile.recorded.runs)
    return f"{counted(len(profile.recorded.timeline.events), 'instruction')} in {counted(programs, 'program')}"


def _switching_ms(profile: Profile) -> float:
    """What going from segment to segment costs, units draining apart."""
    events = profile.recorded.timeline.events
    return profile.recorded.npu.milliseconds(sum(e.cost.cycles for e in events if isinstance(e.instruction, Jump)))
