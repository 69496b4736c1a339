"""Two profiles compared, as tables: totals, then the layers that changed most, with why."""

from __future__ import annotations

from collections.abc import Sequence

from furc.profiling.diff import Diff, Layer, Side
from furc.profiling.measured import Measured, total
from furc.report.tables import Column, Table, count, nodes, percent

LAYER_COLUMNS = (
    Column("layer", long=True),
    Column("before", right=True),
    Column("after", right=True),
    Column("change", right=True),
    Column("why", long=True),
)
UNITS = {"latency_ms": "latency, ms", "npu_ms": "NPU, ms", "first_npu_ms": "NPU, first run, ms", "host_ms": "host, ms",
         "cycles": "NPU cycles", "dram_bytes": "DRAM traffic, B", "macs": "MACs", "mac_utilization": "MAC use, %",
         "instruction_bytes": "instructions, B", "program_loads": "segments loaded",
         "sram_peak_bytes": "SRAM peak, B"}  # fmt: skip
SMALLEST_MS = 0.0005  # what three digits show


def totals_table(diff: Diff) -> Table:
    """Whole runs, one quantity a row."""
    rows = [
        (UNITS[key], _quantity(key, before), _quantity(key, after), _signed(key, after - before), _share(before, after))
        for key, (before, after) in diff.totals.items()
    ]
    columns = (Column(""), *(Column(word, right=True) for word in ("before", "after", "change", "")))
    return Table(title=title(diff), columns=columns, rows=tuple(rows))


def title(diff: Diff) -> str:
    """old.enf -> new.enf: yolov8n on warboy, batch 1 -> yolov8n on warboy-2pe, batch 1, modelled"""
    runs = (diff.before, diff.after)
    before, after = (f"{run.model} on {run.target}, batch {run.batch}" for run in runs)
    files = " -> ".join(run.source for run in runs) + ": " if all(run.source for run in runs) else ""
    return f"{files}{before if before == after else f'{before} -> {after}'}, modelled"


def layer_table(diff: Diff, top: int | None = None) -> Table:
    """Layers of the NPU whose cycles changed, the largest change first. top: how many, all by default."""
    layers = [layer for layer in diff.layers if _has_cycles(layer)]
    changed = [layer for layer in layers if _changed(layer)]
    same = [layer for layer in layers if not _changed(layer)]
    shown = changed if top is None else changed[:top]
    hidden = changed[len(shown) :]
    footer = [_sum_row(f"{len(hidden)} not shown", hidden)] if hidden else []
    footer += [_sum_row(f"{len(same)} as before", same)] if same else []
    idle = [side.amounts.run_cycles for side in (diff.rest.before, diff.rest.after)]
    footer += [_row(diff.rest)] if any(map(round, idle)) else []
    footer.append(_sum_row("the run", [*layers, diff.rest]))
    return Table(
        title=f"Cycles of the run by layer: {verdict(changed)}{_clocks(diff.before, diff.after)}",
        columns=LAYER_COLUMNS,
        rows=tuple(map(_row, shown)),
        footer=tuple(footer),
    )


def verdict(layers: Sequence[Layer]) -> str:
    """How many gained, how many lost, and how much."""
    faster = [change for layer in layers if (change := layer.change.run_cycles) < 0]
    slower = [change for layer in layers if (change := layer.change.run_cycles) > 0]
    return f"{len(faster)} faster by {count(-sum(faster))}, {len(slower)} slower by {count(sum(slower))}"


def host_table(diff: Diff, top: int | None = None) -> Table:
    """The host's share in ms, the largest change first; what changed by less than is shown is summed up."""
    layers = [layer for layer in diff.layers if layer.before.amounts.host_ms or layer.after.amounts.host_ms]
    layers.sort(key=lambda layer: -abs(layer.change.host_ms))
    changed = [layer for layer in layers if abs(layer.change.host_ms) >= SMALLEST_MS]
    shown = changed if top is None else changed[:top]
    columns = (Column("operators on the host", long=True), *(Column(w, right=True) for w in ("before", "after", "ms")))
    footer = _host_row(
        "all", sum(x.before.amounts.host_ms for x in layers), sum(x.after.amounts.host_ms for x in layers)
    )
    rows = (_host_row(_named(layer), layer.before.amounts.host_ms, layer.after.amounts.host_ms) for layer in shown)
    title = f"Host, ms: {len(changed)} of {len(layers)} changed"
    return Table(title=title, columns=columns, rows=tuple(rows), footer=(footer,))


def why(layer: Layer) -> str:
    """What of a layer's work changed, and what bounds it."""
    if not layer.before.operators and not layer.after.operators:
        return "commands, waiting"
    parts = [_presence(layer), _operators(layer.before, layer.after) if not layer.only else ""]
    change = layer.change
    moved = {"load": change.load_cycles, "compute": change.compute_cycles, "store": change.store_cycles}
    largest_first = sorted(moved, key=lambda name: -abs(moved[name]))
    parts += (f"{name} {plus(moved[name])}" for name in largest_first if round(moved[name]))
    parts.append(f"DRAM {plus(change.dram_bytes)} B" if change.dram_bytes else "")
    if not any(map(round, moved.values())) and round(change.run_cycles):
        parts.append("same work, more of it hidden" if change.run_cycles < 0 else "same work, less of it hidden")
    before, after = layer.before.bound_by, layer.after.bound_by
    parts.append(f"{before} -> {after}" if before and after and before != after else after or before)
    return "; ".join(part for part in parts if part)


def _presence(layer: Layer) -> str:
    if layer.only:
        side = layer.after if layer.only == "after" else layer.before
        return f"only {layer.only}: {_names(side)}"
    return ""


def _operators(before: Side, after: Side) -> str:
    return f"{_names(before)} -> {_names(after)}" if before.operators != after.operators else ""


def _names(side: Side) -> str:
    return " + ".join(name if times == 1 else f"{times} {name}" for name, times in side.operators)


def _changed(layer: Layer) -> bool:
    change = layer.change
    cycles = (change.run_cycles, change.load_cycles, change.compute_cycles, change.store_cycles)
    return any(map(round, cycles))


def _has_cycles(layer: Layer) -> bool:
    return bool(layer.before.amounts.cycles or layer.after.amounts.cycles)


def _named(layer: Layer) -> str:
    return nodes(layer.name)


def _row(layer: Layer) -> tuple[str, ...]:
    before, after = layer.before.amounts.run_cycles, layer.after.amounts.run_cycles
    return (_named(layer), count(before), count(after), plus(after - before), why(layer))


def _sum_row(name: str, layers: Sequence[Layer]) -> tuple[str, ...]:
    before, after = (total(side.amounts for side in sides).run_cycles for sides in _sides(layers))
    return (name, count(before), count(after), plus(after - before), "")


def _sides(layers: Sequence[Layer]) -> tuple[list[Side], list[Side]]:
    return [layer.before for layer in layers], [layer.after for layer in layers]


def _host_row(name: str, before: float, after: float) -> tuple[str, ...]:
    return (name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")


def _clocks(before: Measured, after: Measured) -> str:
    one, other = before.clock_hz, after.clock_hz
    if not one or not other or abs(one / other - 1) < 1e-3:
        return ""
    return f"; a cycle is one of {one / 1e9:.3g} GHz before, of {other / 1e9:.3g} GHz after"


def _quantity(key: str, value: float) -> str:
    if key.endswith("_ms"):
        return f"{value:.3f}"
    return f"{100 * value:.1f}" if key == "mac_utilization" else count(value)


def _signed(key: str, value: float) -> str:
    """With its sign; nothing where nothing changed."""
    shown = _quantity(key, abs(value))
    if not shown.strip("0."):
        return ""
    return f"{'-' if value < 0 else '+'}{shown}"


def plus(value: float) -> str:
    """A whole number with its sign."""
    return f"{'-' if value < 0 else '+'}{count(abs(value))}" if round(value) else "0"


def _share(before: float, after: float) -> str:
    if not before or before == after:
        return ""
    sign = "+" if after > before else "-"
    return f"{sign}{percent(abs(after / before - 1))}"
