"""SRAM over time as one HTML file: a rectangle for every buffer, computations and transfers in a strip below zero."""

from __future__ import annotations

from typing import NamedTuple

from furc.profiling.recorded import Engine, Recorded
from furc.report.lanes import bars, hover
from furc.report.page import LEGEND_ABOVE, WITH_LEGEND, Figure, Section, page, text
from furc.report.tables import count
from isa.operands import Range, Space
from passes.analysis.aliases import Aliases
from passes.analysis.occupancy import Occupied, occupancy
from passes.ir.lir import Program
from passes.ir.op import Op

KINDS = {"activation": "#3b82c4", "weights": "#c9a227", "scratch": "#b0558f"}
LANES = {Engine.MAIN: "#2b6cb0", Engine.SUB: "#2f9e8f", Engine.DMA_IN: "#d9822b", Engine.DMA_OUT: "#c9513f"}
ZERO_LINE = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"color": "#1c2733"}}
LANE_SHARE = 0.06  # of the height of SRAM


class Rectangle(NamedTuple):
    """A buffer: cycles [start, stop), bytes [low, high) of every slice."""

    name: str
    kind: str  # activation, weights or scratch
    start: float
    stop: float
    low: int
    high: int


def memory_html(program: Program, recorded: Recorded) -> str:
    """The text of the file. program: what `recorded` is the run of."""
    cycles = recorded.timeline.cycles
    computing = _computing(recorded)
    ratio = computing / cycles if cycles else 0.0
    title = f"computation/total: {round(computing)}/{round(cycles)}(={ratio:.6f})"
    npu = recorded.npu
    note = (
        f"{recorded.enf.model_name} on {npu.title}, batch {recorded.enf.batch}. Time is modelled. Every slice of SRAM "
        f"has the same picture; there are {npu.num_slices} of {count(npu.sram_bytes_per_slice)} B."
    )
    found = rectangles(program, recorded)
    return page(title, (Section(note=note, figure=_figure(found, recorded)),))


def rectangles(program: Program, recorded: Recorded) -> list[Rectangle]:
    """Every buffer, from when the first instruction that touches it starts to when the last one ends; weights that stay
    from run to run all the time."""
    npu, ops, aliases = recorded.npu, program.graph.ops, Aliases(program.graph)
    buffers = {buffer.name: buffer for buffer in occupancy(program.graph, npu)}
    spans: dict[str, tuple[float, float]] = {}
    for step, event in zip(program.steps(), recorded.timeline.events, strict=True):
        insn = event.instruction
        touched = (*insn.reads(npu.sram_access_bytes), *insn.writes(npu.sram_access_bytes))
        for name in _buffers_of(ops[step.command], aliases) if step.command >= 0 else ():
            if name in buffers and any(_overlap(buffers[name], memory) for memory in touched):
                mine = (event.start, event.end) if event.works else (0.0, recorded.timeline.cycles)
                start, stop = spans.get(name, mine)
                spans[name] = (min(start, mine[0]), max(stop, mine[1]))
    found = [buffers[name] for name in buffers if name in spans]
    return [Rectangle(b.name, b.kind, *spans[b.name], b.low, b.high) for b in found]


def _buffers_of(op: Op, aliases: Aliases) -> list[str]:
    """Names in occupancy() of what a command may touch; an instruction of it touches some of them."""
    return [*(aliases.root(value).name for value in (*op.operands(), *op.results)), f"{op.result.name}.sums"]


def _overlap(buffer: Occupied, memory: Range) -> bool:
    return memory.space is Space.SRAM and buffer.low < memory.stop and memory.start < buffer.high


def _computing(recorded: Recorded) -> float:
    """Cycles in which the tensor unit computes or re-lays data."""
    covered, reached = 0.0, 0.0
    busy = [piece for piece in recorded.slices if piece.engine in (Engine.MAIN, Engine.SUB)]
    for piece in sorted(busy, key=lambda piece: piece.start):
        covered += max(0.0, piece.stop - max(piece.start, reached))
        reached = max(reached, piece.stop)
    return covered


def _figure(found: list[Rectangle], recorded: Recorded) -> Figure:
    height = recorded.npu.sram_bytes_per_slice
    data = [_buffers(kind, color, [r for r in found if r.kind == kind]) for kind, color in KINDS.items()]
    data += _lanes(recorded, height)
    lane = LANE_SHARE * height
    ticks = [i * height // 8 for i in range(9)]
    layout: dict[str, object] = {
        "barmode": "overlay", "hovermode": "closest", "bargap": 0, "margin": {"l": 160, "t": WITH_LEGEND},
        "xaxis": {"title": {"text": "cycles"}, "range": [0, recorded.timeline.cycles]},
        "yaxis": {
            "title": {"text": "bytes of a slice", "standoff": 25}, "range": [-(len(LANES) + 0.3) * lane, height],
            "tickvals": [*(-(i + 0.6) * lane for i in range(len(LANES))), *ticks],
            "ticktext": [*(str(engine) for engine in LANES), *map(count, ticks)],
        },
        "legend": LEGEND_ABOVE, "shapes": [ZERO_LINE],
    }  # fmt: skip
    return Figure(data=data, layout=layout, height=760)


def _buffers(kind: str, color: str, found: list[Rectangle]) -> dict[str, object]:
    hovers = [
        f"<b>{text(r.name)}</b> {r.kind}<br>cycles [{round(r.start)}, {round(r.stop)})<br>"
        f"bytes [{r.low}, {r.high}) of a slice"
        for r in found
    ]
    return _bars(kind, color, [(r.start, r.stop, r.low, r.high) for r in found], hovers, 0.75)


def _lanes(recorded: Recorded, height: int) -> list[dict[str, object]]:
    lane, joined = LANE_SHARE * height, bars(recorded)
    drawn = []
    for index, (engine, color) in enumerate(LANES.items()):
        mine = [bar for bar in joined if bar.engine is engine]
        top = -(index + 0.2) * lane
        boxes = [(bar.start, bar.stop, top - 0.8 * lane, top) for bar in mine]
        drawn.append(_bars(str(engine), color, boxes, [hover(recorded, bar) for bar in mine], 1.0))
    return drawn


def _bars(
    name: str, color: str, boxes: list[tuple[float, float, float, float]], hovers: list[str], opacity: float
) -> dict[str, object]:
    return {
        "type": "bar", "name": name, "opacity": opacity,
        "x": [round((start + stop) / 2, 1) for start, stop, _, _ in boxes],
        "width": [round(stop - start, 1) for start, stop, _, _ in boxes],
        "base": [low for _, _, low, _ in boxes], "y": [high - low for _, _, low, high in boxes],
        "marker": {"color": color, "line": {"width": 0.4, "color": color}},
        "hovertext": hovers, "hoverinfo": "text",
    }  # fmt: skip
