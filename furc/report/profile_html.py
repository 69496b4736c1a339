"""A profile as one HTML file: totals, the timeline of the engines, operators by what bounds them, memory, tables."""

from __future__ import annotations

from dataclasses import replace

from furc.profiling.bound_by import BoundBy
from furc.profiling.counters import Step, dram_gigabytes_per_second, mac_utilization, sram_bytes
from furc.profiling.profile import OperatorProfile, Profile
from furc.profiling.recorded import Engine
from furc.report.lanes import bars, hover
from furc.report.page import BARE, LEGEND_ABOVE, LOGARITHMIC, WITH_LEGEND, Figure, Section, page, text
from furc.report.profile_table import host_table, operator_table, summary_table
from furc.report.tables import count, nodes, percent, shape

COLORS = {
    BoundBy.MAC: "#2b6cb0",
    BoundBy.FETCH: "#2f9e8f",
    BoundBy.VECTOR: "#7b61c4",
    BoundBy.DMA_IN: "#d9822b",
    BoundBy.DMA_OUT: "#c9513f",
    BoundBy.OVERHEAD: "#8a97a6",
    BoundBy.HOST: "#3d4a57",
}
PARTS = (("load", "#d9822b"), ("compute", "#2b6cb0"), ("store", "#c9513f"))
SHOWN_OPERATORS = 30
MOST_STEPS = 6000
CYCLES_AXIS: dict[str, object] = {"title": {"text": "cycles"}, "rangemode": "tozero"}


def profile_html(profile: Profile) -> str:
    """The text of the file."""
    title = f"{profile.model} on {profile.target}: {profile.latency_ms:.3f} ms, of which NPU {profile.npu_ms:.3f} ms"
    return page(
        title,
        (
            Section(
                tables=(replace(summary_table(profile), title=""),),
                note=f"Modelled by furc {profile.recorded.enf.furc_version}.",
            ),
            Section(
                heading="Timeline of the engines",
                note="Color: what bounds the operator. Of a DMA transfer only the data is drawn, not its latency.",
                figure=_timeline(profile),
            ),
            Section(heading="Memory and utilization over time", figure=_counters(profile)),
            Section(
                heading="Operators by cycles",
                note=f"The {SHOWN_OPERATORS} largest. Load and store mostly overlap with other operators' computing.",
                figure=_operators(profile),
            ),
            Section(
                heading="Distance from the roofs",
                note="Each NPU operator with MACs: against the compute peak and the DRAM peak of the machine. Those "
                "without DRAM traffic are at the right end.",
                figure=_roofline(profile),
            ),
            Section(heading="Operators on the NPU", tables=(operator_table(profile),)),
            Section(heading="Operators on the host", tables=(host_table(profile),)),
        ),
    )


def _timeline(profile: Profile) -> Figure:
    recorded = profile.recorded
    bound = {o.index: o.bound_by for o in profile.operators if o.bound_by is not BoundBy.HOST}
    by_bound: dict[BoundBy, list[dict[str, object]]] = {}
    for bar in bars(recorded):
        entry = {"x": bar.stop - bar.start, "base": bar.start, "y": str(bar.engine), "hover": hover(recorded, bar)}
        by_bound.setdefault(bound[bar.operator], []).append(entry)
    data: list[dict[str, object]] = [
        {
            "type": "bar", "orientation": "h", "name": str(kind), "marker": {"color": COLORS[kind]},
            "x": [_short(e["x"]) for e in entries], "base": [_short(e["base"]) for e in entries],
            "y": [e["y"] for e in entries], "hovertext": [e["hover"] for e in entries], "hoverinfo": "text",
        }
        for kind, entries in by_bound.items()
    ]  # fmt: skip
    lanes = [str(engine) for engine in (Engine.DMA_OUT, Engine.SUB, Engine.MAIN, Engine.DMA_IN)]
    layout: dict[str, object] = {
        "barmode": "overlay", "xaxis": CYCLES_AXIS, "bargap": 0.15, "margin": {"l": 130, "t": WITH_LEGEND},
        "yaxis": {"categoryorder": "array", "categoryarray": lanes, "fixedrange": True},
        "legend": LEGEND_ABOVE,
    }  # fmt: skip
    return Figure(data=data, layout=layout, height=370)


def _counters(profile: Profile) -> Figure:
    npu, recorded, end = profile.recorded.npu, profile.recorded, profile.cycles
    rows = (
        ("SRAM, MiB", _scaled(sram_bytes(recorded), 1 / 2**20), npu.sram_bytes / 2**20, "#2f9e8f"),
        ("DRAM, GB/s", dram_gigabytes_per_second(recorded), npu.dram_bytes_per_second / 1e9, "#d9822b"),
        ("MAC use, %", _scaled(mac_utilization(recorded), 100), 100.0, "#2b6cb0"),
    )
    data: list[dict[str, object]] = []
    layout: dict[str, object] = {"margin": {"l": 80, "t": BARE}, "showlegend": False}
    layout["xaxis"] = {**CYCLES_AXIS, "anchor": "y3"}
    for index, (name, steps, limit, color) in enumerate(rows):
        axis = "y" if index == 0 else f"y{index + 1}"
        x, y = _corners(steps, end)
        data.append(
            {
                "type": "scatter", "mode": "lines", "x": x, "y": y, "yaxis": axis, "name": name, "fill": "tozeroy",
                "line": {"shape": "hv", "color": color, "width": 1},
            }
        )  # fmt: skip
        top = 1 - index / 3
        heading = {"text": f"{name}<br>of {limit:g}", "font": {"size": 11}}
        layout[axis.replace("y", "yaxis")] = {"domain": [top - 0.28, top], "title": heading, "rangemode": "tozero"}
    return Figure(data=data, layout=layout, height=500)


def _corners(steps: list[Step], end: float) -> tuple[list[float], list[float]]:
    """Steps as points, thinned by their maxima where there are more than a screen has columns."""
    if len(steps) > MOST_STEPS:
        size = -(-len(steps) // (MOST_STEPS // 2))
        groups = [steps[i : i + size] for i in range(0, len(steps), size)]
        steps = [Step(group[0].cycle, max(step.value for step in group)) for group in groups]
    points = [Step(0.0, 0.0), *steps, Step(end, steps[-1].value if steps else 0.0)]
    return [_short(p.cycle) for p in points], [round(p.value, 4) for p in points]


def _operators(profile: Profile) -> Figure:
    found = sorted((o for o in profile.operators if o.cycles), key=lambda o: -o.cycles)[:SHOWN_OPERATORS]
    labels = [_label(index, o) for index, o in enumerate(found)]
    data: list[dict[str, object]] = [
        {
            "type": "bar", "orientation": "h", "name": part, "marker": {"color": color}, "y": labels,
            "x": [_short(getattr(o, f"{part}_cycles")) for o in found], "hoverinfo": "text",
            "hovertext": [_operator_hover(o) for o in found],
        }
        for part, color in PARTS
    ]  # fmt: skip
    layout: dict[str, object] = {
        "barmode": "stack", "xaxis": CYCLES_AXIS, "margin": {"l": 420, "t": WITH_LEGEND},
        "yaxis": {"autorange": "reversed", "tickfont": {"size": 11}},
        "legend": {**LEGEND_ABOVE, "traceorder": "normal"},
    }  # fmt: skip
    return Figure(data=data, layout=layout, height=160 + 20 * len(found))


def _roofline(profile: Profile) -> Figure:
    npu = profile.recorded.npu
    found = [o for o in profile.operators if o.macs and o.compute_cycles]
    reach = [o.macs / o.dram_bytes for o in found if o.dram_bytes] or [1.0]
    ridge = npu.macs_per_cycle / npu.dram_bytes_per_cycle
    low, high = min(*reach, ridge) / 2, max(*reach, ridge) * 2
    by_bound: dict[BoundBy, list[OperatorProfile]] = {}
    for operator in found:
        by_bound.setdefault(operator.bound_by, []).append(operator)
    data: list[dict[str, object]] = [
        {
            "type": "scatter", "mode": "markers", "name": str(kind), "marker": {"color": COLORS[kind], "size": 9},
            "x": [o.macs / o.dram_bytes if o.dram_bytes else high for o in operators],
            "y": [o.macs / (o.end_cycle - o.start_cycle) for o in operators], "hoverinfo": "text",
            "hovertext": [_operator_hover(o) for o in operators],
        }
        for kind, operators in by_bound.items()
    ]  # fmt: skip
    roof = [low * npu.dram_bytes_per_cycle, float(npu.macs_per_cycle), float(npu.macs_per_cycle)]
    data.append(
        {
            "type": "scatter", "mode": "lines", "name": "peak", "x": [low, ridge, high], "y": roof,
            "line": {"color": "#1c2733", "dash": "dash"}, "hoverinfo": "skip",
        }
    )  # fmt: skip
    layout: dict[str, object] = {
        "xaxis": {**LOGARITHMIC, "title": {"text": "MACs a byte of DRAM traffic"}}, "margin": {"l": 80, "t": BARE},
        "yaxis": {**LOGARITHMIC, "title": {"text": "MACs a cycle, first work to last"}}, "hovermode": "closest",
    }  # fmt: skip
    return Figure(data=data, layout=layout, height=480)


def _label(index: int, o: OperatorProfile) -> str:
    """Unique, for it names a bar; the end of long node names is what tells them apart."""
    name = nodes(o.onnx_nodes[:1]) or shape(o.shape)
    shown = name if len(name) <= 44 else "…" + name[-43:]
    return f"{text(o.name)} {text(shown)} #{index + 1}"


def _operator_hover(o: OperatorProfile) -> str:
    cycles = ", ".join(f"{part} {count(getattr(o, f'{part}_cycles'))}" for part, _ in PARTS)
    return (
        f"<b>{text(o.name)}</b> {text(shape(o.shape))}<br>{text(nodes(o.onnx_nodes))}<br>{cycles} cycles<br>"
        f"{count(o.macs)} MACs, {percent(o.mac_utilization)} of the peak, bound by {o.bound_by}<br>"
        f"{count(o.dram_bytes)} B of DRAM traffic, {count(o.instruction_bytes)} B of instructions"
    )


def _scaled(steps: list[Step], factor: float) -> list[Step]:
    return [Step(step.cycle, step.value * factor) for step in steps]


def _short(value: object) -> float:
    assert isinstance(value, int | float)
    return round(value, 1)
