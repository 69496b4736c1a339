"""HTML pages that open offline: plotly.js and all numbers are inside the file; the same input gives the same bytes.

Figures are plain data for plotly.js. Names come from models: all text is escaped, and no JSON can end its script.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plotly.offline import get_plotlyjs

from furc.report.tables import Column, Table, one_line

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 96rem; padding: 0 1.5rem; }
body { color: #1c2733; } h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #e3e8ee; text-align: left; vertical-align: top; }
.right { text-align: right; } .note { color: #566573; max-width: 60rem; } tfoot td { font-weight: 600; }
td { white-space: nowrap; } td.long { white-space: normal; overflow-wrap: anywhere; min-width: 10rem; }
thead, tfoot { position: sticky; background: #fff; } thead { top: 0; } tfoot { bottom: 0; box-shadow: 0 -1px #e3e8ee; }
.scroll { max-height: 34rem; overflow: auto; } .wide { overflow-x: auto; } .wide > div { min-width: 50rem; }
"""
BARE, WITH_LEGEND = 40, 64  # pixels above a drawing: for plotly's buttons, and for a legend below them
LEGEND_ABOVE: dict[str, object] = {"orientation": "h", "y": 1.0, "yanchor": "bottom"}  # grows away from the drawing
# Ticks at 1, 2 and 5; without a format plotly writes 0.2 and 20 as 2.
LOGARITHMIC: dict[str, object] = {"type": "log", "tickformat": "~g", "dtick": "D2"}
CONFIG = {"displaylogo": False, "responsive": True, "scrollZoom": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What plotly.js draws. height: in pixels."""

    data: list[dict[str, object]]
    layout: dict[str, object]
    height: int = 420


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, what to know before reading, and tables or a figure. links: where cells of these texts lead."""

    heading: str = ""
    note: str = ""
    tables: Sequence[Table] = field(default_factory=tuple)
    figure: Figure | None = None
    links: Mapping[str, str] = field(default_factory=dict)


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole file."""
    body = "".join(_section(index, section) for index, section in enumerate(sections))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="furc">'
        f"<title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{body}</body></html>\n"
    )


def text(value: str) -> str:
    """A name as hover text: plotly reads a little HTML."""
    return html.escape(one_line((value,))[0], quote=False)


def _section(index: int, section: Section) -> str:
    parts = [f"<h2>{html.escape(section.heading)}</h2>" if section.heading else ""]
    parts.append(f'<p class="note">{html.escape(section.note)}</p>' if section.note else "")
    parts += [_table(table, section) for table in section.tables]
    if section.figure is not None:
        layout = {"height": section.figure.height, "template": None, **section.figure.layout}
        drawn = f"{_json(section.figure.data)}, {_json(layout)}, {_json(CONFIG)}"
        parts.append(f'<div class="wide"><div id="figure{index}"></div></div>')  # on narrow windows it scrolls
        parts.append(f'<script>Plotly.newPlot("figure{index}", {drawn});</script>')
    return "\n".join(part for part in parts if part) + "\n"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _table(table: Table, section: Section) -> str:
    head = "".join(_cell("th", column.heading, column) for column in table.columns)
    body = "".join(_row(row, table.columns, section.links) for row in table.rows)
    foot = "".join(_row(row, table.columns, {}) for row in table.footer)
    titled = table.title and table.title != section.heading
    caption = f'<p class="note">{html.escape(table.title)}</p>' if titled else ""
    return (
        f'{caption}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f"<tfoot>{foot}</tfoot></table></div>"
    )


def _row(row: tuple[str, ...], columns: Sequence[Column], links: Mapping[str, str]) -> str:
    cells = (_cell("td", cell, column, links.get(cell, "")) for cell, column in zip(row, columns, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(tag: str, content: str, column: Column, link: str = "") -> str:
    shown = html.escape(content)
    if link:
        shown = f'<a href="{html.escape(link)}">{shown}</a>'
    kind = "right" if column.right else "long" if column.long else ""
    return f'<{tag} class="{kind}">{shown}</{tag}>' if kind else f"<{tag}>{shown}</{tag}>"
