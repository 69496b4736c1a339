"""A sweep as one HTML file: latency against each constant, the fronts, every point, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from furc.report.page import BARE, LOGARITHMIC, Figure, Section, page
from furc.report.sweep_look import Look, Value, latency, npu_time
from furc.report.sweep_table import all_table, errors_table, short, verdict
from furc.sweep.rows import THROUGHPUT, Row, Sweep, front

MOST_LINES = 60  # a legend of more says nothing
MOST_ROWS = 3000  # of the table; a page of more opens slowly
MOST_TICKS = 12
LOG_FROM = 8.0  # the ratio from which an axis is logarithmic
# Constants of which more is a larger chip: there is a price to weigh against latency.
PRICES = ("num_slices", "sram_bytes_per_slice", "mac_width", "mac_height", "fetch_bytes_per_cycle", "clock_hz",
          "weight_register_bytes", "fetch_reuse_groups", "vector_lanes", "table_ports", "te_io_bytes_per_cycle",
          "instruction_memory_bytes", "dram_bytes", "dram_bytes_per_second", "host_link_bytes_per_second")  # fmt: skip


def sweep_html(sweep: Sweep) -> str:
    """The text of the file."""
    best = front(sweep.rows)
    sections = [Section(note=f"{verdict(sweep)}. Every point is in sweep.csv and sweep.parquet beside this page.")]
    if any(row.ok for row in sweep.rows):
        sections += _by_constant(sweep)
        if len({row.batch for row in sweep.rows}) > 1:
            sections.append(_by_batch(sweep))
        sections.append(_throughput(sweep, best))
        sections += [_price(sweep, name) for name in sweep.constants if name in PRICES]
        sections.append(_table(sweep, best))
    if any(not row.ok for row in sweep.rows):
        sections.append(Section(heading="Points without figures", tables=(errors_table(sweep),)))
    models = list(dict.fromkeys(row.model for row in sweep.rows))
    return page(f"A sweep of {', '.join(models[:3])}{', ...' if len(models) > 3 else ''}, modelled", sections)


def _table(sweep: Sweep, best: Sequence[Row]) -> Section:
    note = "A * marks points that no other of the model beats in both latency and images per second."
    shown = sweep
    if len(sweep.rows) > MOST_ROWS:
        shown = Sweep(rows=sweep.rows[:MOST_ROWS], constants=sweep.constants)
        note += f" The first {MOST_ROWS} of {len(sweep.rows)} points."
    return Section(heading="All points", note=note, tables=(all_table(shown, best),))


def _by_constant(sweep: Sweep) -> Iterator[Section]:
    """Latency over each constant; where the host takes most of it and hides what the NPU does, also the NPU's time."""
    hidden = any(row.ok and npu_time(row) < latency(row) / 2 for row in sweep.rows)
    for name in sweep.constants:
        yield _against(sweep, name, latency, "latency")
        if hidden:
            yield _against(sweep, name, npu_time, "NPU time")


def _against(sweep: Sweep, constant: str, time: Value, called: str) -> Section:
    """A time over a constant; other constants stay at their middle value, so that a line is a machine that varies."""
    others = {name: _middle(sweep, name) for name in sweep.constants if name != constant}
    rows = [row for row in sweep.rows if all(row.constants[name] == value for name, value in others.items())]
    fixed = "".join(f" {name} is {short(value)}." for name, value in others.items())
    note = f"A line for each model, target, batch and configuration; a gap where a point has no figures.{fixed}"
    heading = f"{called[0].upper()}{called[1:]} against {constant}"
    return _lines(sweep, rows, heading, lambda row: row.constants[constant], constant, time, f"{called}, ms", note)


def _by_batch(sweep: Sweep) -> Section:
    middles = {name: _middle(sweep, name) for name in sweep.constants}
    rows = [row for row in sweep.rows if all(row.constants[name] == value for name, value in middles.items())]
    fixed = " ".join(f"{name} is {short(value)}." for name, value in middles.items())
    return _lines(sweep, rows, "Images per second against batch", lambda row: row.batch, "batch",
                  lambda row: row.figures[THROUGHPUT], "images/s", fixed, batches=False)  # fmt: skip


def _middle(sweep: Sweep, constant: str) -> float:
    values = sorted({row.constants[constant] for row in sweep.rows})
    return values[len(values) // 2]


def _lines(
    sweep: Sweep, rows: Sequence[Row], heading: str, x: Value, x_name: str, y: Value, y_name: str, note: str,
    *, batches: bool = True,
) -> Section:  # fmt: skip
    lines: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row.model, row.target, row.configuration, row.batch if batches else 0)
        lines.setdefault(key, []).append(row)
    shown = list(lines.values())[:MOST_LINES]
    if len(shown) < len(lines):
        note += f" The first {len(shown)} of {len(lines)} lines."
    look = Look(sweep)
    data = [look.line(sorted(line, key=x), x, y, batches=batches) for line in shown]
    drawn = [row for line in shown for row in line if row.ok]
    layout = {
        "xaxis": _axis(x_name, [x(row) for line in shown for row in line], chosen=True),
        "yaxis": _axis(y_name, [y(row) for row in drawn]),
        "margin": {"l": 80, "t": BARE}, "hovermode": "closest",
    }  # fmt: skip
    return Section(heading=heading, note=note, figure=Figure(data=data, layout=layout, height=_height(len(shown))))


def _throughput(sweep: Sweep, best: Sequence[Row]) -> Section:
    note = "The line joins the points that no other of the model beats in both: the front."
    return _front(sweep, best, "Latency against throughput", lambda row: row.figures[THROUGHPUT], "images/s", note,
                  lambda row: row.model)  # fmt: skip


def _price(sweep: Sweep, constant: str) -> Section:
    note = (
        f"What {constant} buys: the line joins the points that no other of the model and batch beats in both latency "
        f"and {constant}, over targets, configurations and other constants."
    )
    batches = len({row.batch for row in sweep.rows}) > 1
    return _front(sweep, front(sweep.rows, constant), f"Latency against the price in {constant}",
                  lambda row: row.constants[constant], constant, note,
                  lambda row: f"{row.model}, batch {row.batch}" if batches else row.model)  # fmt: skip


def _front(
    sweep: Sweep, best: Sequence[Row], heading: str, x: Value, x_name: str, note: str, group: Callable[[Row], str]
) -> Section:
    look, names = Look(sweep), list(dict.fromkeys(group(row) for row in sweep.rows if row.ok))
    if len(names) > MOST_LINES:
        names, note = names[:MOST_LINES], f"{note} The first {MOST_LINES} of {len(names)} lines."
    data: list[dict[str, object]] = []
    for name in names:
        mine = [row for row in sweep.rows if row.ok and group(row) == name]
        line = sorted((row for row in best if group(row) == name), key=lambda row: (x(row), latency(row)))
        data += (look.points(mine, x, name), look.front(line, x, name))
    rows = [row for row in sweep.rows if row.ok]
    layout = {
        "xaxis": _axis(x_name, [x(row) for row in rows], chosen=x_name in sweep.constants),
        "yaxis": _axis("latency, ms", [latency(row) for row in rows]),
        "margin": {"l": 80, "t": BARE}, "hovermode": "closest",
    }  # fmt: skip
    return Section(heading=heading, note=note, figure=Figure(data=data, layout=layout, height=_height(len(names), 31)))


def _axis(name: str, values: Sequence[float], *, chosen: bool = False) -> dict[str, object]:
    """Logarithmic where values are far apart. chosen: by the user, who looks for them: each of a few has a tick.
    Measured ones may lie so close that their ticks would cover each other."""
    axis: dict[str, object] = {"title": {"text": name}}
    distinct = sorted(set(values))
    if chosen and len(distinct) <= MOST_TICKS:
        axis |= {"tickmode": "array", "tickvals": distinct, "ticktext": [short(value) for value in distinct]}
    if values and min(values) > 0 and max(values) / min(values) >= LOG_FROM:
        return {**axis, **LOGARITHMIC}
    return {**axis, "rangemode": "tozero"}


def _height(lines: int, each: int = 19) -> int:
    """So that the legend has room. each: pixels of an entry, more where markers are large."""
    return max(420, 120 + each * lines)
