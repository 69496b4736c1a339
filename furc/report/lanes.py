"""Engine slices joined for drawing: neighbours of one operator become one bar, so that large programs stay drawable."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

from furc.profiling.recorded import Engine, Recorded
from furc.report.page import text
from furc.report.tables import count, nodes, shape
from isa.errors import counted

MOST_BARS = 4000  # of all engines; what a browser draws without a pause


class Bar(NamedTuple):
    """An engine busy with an operator, in cycles. instructions: how many were joined."""

    engine: Engine
    start: float
    stop: float
    operator: int
    instructions: int


def bars(recorded: Recorded) -> list[Bar]:
    """Joined over gaps as small as the drawing allows. Loads of weights that are there already have none."""
    gap, found = 0.0, _joined(recorded, 0.0)
    while len(found) > MOST_BARS and gap < recorded.timeline.cycles:
        gap = max(2 * gap, recorded.timeline.cycles / MOST_BARS / 8)
        found = _joined(recorded, gap)
    return found


def hover(recorded: Recorded, bar: Bar) -> str:
    """What pointing at a bar shows."""
    operator = recorded.operator(bar.operator)
    return (
        f"<b>{text(operator.name)}</b> {text(shape(operator.shape))}<br>{text(nodes(operator.nodes))}<br>"
        f"{bar.engine}: [{count(bar.start)}, {count(bar.stop)}) = {count(bar.stop - bar.start)} cycles, "
        f"{counted(bar.instructions, 'instruction')}"
    )


def _joined(recorded: Recorded, gap: float) -> list[Bar]:
    found: list[Bar] = []
    last: dict[Engine, int] = {}
    for piece in sorted(filter(attrgetter("event.works"), recorded.slices), key=lambda piece: piece.start):
        at = last.get(piece.engine)
        if at is not None and found[at].operator == piece.operator and piece.start - found[at].stop <= gap:
            found[at] = found[at]._replace(stop=piece.stop, instructions=found[at].instructions + 1)
        else:
            last[piece.engine] = len(found)
            found.append(Bar(piece.engine, piece.start, piece.stop, piece.operator, 1))
    return found
