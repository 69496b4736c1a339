"""Tables on a terminal, drawn by rich. Where it is narrow, headings fold, then long texts, then some columns go.

Texts are folded here: rich leaves a line empty where a word that is cut stands behind one that just fits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from furc.report.tables import Table, one_line

if TYPE_CHECKING:
    from rich.table import Table as RichTable

GAP = 2
HEADING = 8  # a heading folds to this or its longest word, no narrower
READABLE, LEAST = 24, 12  # what long texts are folded to while columns can be spared, and then
NARROW = 4  # what the widest columns are folded to at last
EDGE = 2  # rich's own, left and right
SEAMS = "/.:_-,="  # a word that is longer than its column is cut behind one of these, where there is one
PIECES = re.compile(rf" |(?<=[{re.escape(SEAMS)}])")
THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}\b)")  # the blanks of 21 028, which is one word


def drawn(table: Table, width: int | None = None) -> RichTable:
    """The table as rich draws it. width: of the terminal; None where it does not matter."""
    from rich import box  # here: most runs have no terminal, and rich takes a tenth of a second
    from rich.table import Table as RichTable
    from rich.text import Text

    widths = fitted(table, width if width is not None else 1 << 20)
    left_out = [column.heading for i, column in enumerate(table.columns) if i not in widths]
    result = RichTable(
        title=Text(*one_line((table.title,))) if table.title else None,
        caption=Text(f"on a wider terminal also {', '.join(left_out)}") if left_out else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        show_header=any(table.columns[i].heading for i in widths),
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, wide in widths.items():
        justify: Literal["left", "right"] = "right" if table.columns[index].right else "left"
        heading = "\n".join(folded(table.columns[index].heading, wide))
        result.add_column(Text(heading), justify=justify, overflow="fold", width=wide)
    last = len(table.rows) - 1
    for number, row in enumerate((*table.rows, *table.footer)):
        cells = one_line(row)
        shown = (Text("\n".join(folded(cells[i], wide))) for i, wide in widths.items())
        result.add_row(*shown, end_section=number == last and bool(table.footer))
    return result


def folded(cell: str, width: int) -> list[str]:
    """Lines no longer than `width`: broken between words, within a word only where it is longer than that. What begins
    with blanks stays as far in, all its lines do."""
    indent = " " * min(len(cell) - len(cell.lstrip(" ")), width - 1)
    width -= len(indent)
    lines, line = list[str](), ""
    for word in THOUSANDS.sub("\0", cell.lstrip(" ")).split(" "):
        joined = f"{line} {word}" if line else word
        if len(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while len(word) > width:
            seams = (i for i in range(width, 2, -1) if word[i - 1] in SEAMS and word[i] not in SEAMS)
            cut = next(seams, width)
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [indent + line.replace("\0", " ") for line in (*lines, line)]


def fitted(table: Table, width: int) -> dict[int, int]:
    """The columns to show, by index, each with its width; more than `width` in all where there is no other way."""
    cells = [one_line(row) for row in (*table.rows, *table.footer)]
    widest = [max((len(row[i]) for row in cells), default=0) for i in range(len(table.columns))]
    kept = list(range(len(table.columns)))
    spare = sorted((i for i in kept if table.columns[i].spare), key=lambda i: table.columns[i].spare)
    while True:
        least = READABLE if spare else LEAST
        found = _narrowed(table, kept, widest, width, least)
        if _total(found) <= width or not spare:
            return _squeezed(found, width)
        kept.remove(spare.pop())


def _narrowed(table: Table, kept: Sequence[int], widest: Sequence[int], width: int, least: int) -> dict[int, int]:
    columns = table.columns
    headings = {i: len(columns[i].heading) for i in kept}
    found = {i: max(widest[i], headings[i]) for i in kept}
    if _total(found) > width:
        words = {i: max(map(len, PIECES.split(columns[i].heading))) for i in kept}
        found = {i: max(widest[i], min(headings[i], max(HEADING, words[i]))) for i in kept}
    long = [i for i in kept if columns[i].long]
    while _total(found) > width and any(found[i] > least for i in long):
        longest = max(long, key=lambda i: found[i])
        found[longest] = max(least, found[longest] - (_total(found) - width), _next(found, long, longest))
    return found


def _squeezed(found: dict[int, int], width: int) -> dict[int, int]:
    """The widest columns, whatever they hold, as narrow as it takes: lines that the terminal breaks are unreadable."""
    squeezed = dict(found)
    while _total(squeezed) > width and max(squeezed.values()) > NARROW:
        squeezed[max(squeezed, key=lambda i: squeezed[i])] -= 1
    return squeezed


def _next(found: dict[int, int], long: Sequence[int], longest: int) -> int:
    """The width of the second longest, so that equals shrink together; one less where that is as long."""
    second = max((found[i] for i in long if i != longest), default=0)
    return second if second < found[longest] else found[longest] - 1


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1) + EDGE
