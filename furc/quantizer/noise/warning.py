"""One finding of `lint`, and many as texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isa.errors import NOWHERE, Loc

SHOWN = 3  # findings of one kind that are spelled out


@dataclass(frozen=True, slots=True)
class LintWarning:
    """One finding. name: what scripts match on. tensor: "" where it is about all the data."""

    name: str
    tensor: str
    message: str
    hint: str
    at: Loc = NOWHERE

    def __str__(self) -> str:
        return f"warning[{self.name}]: {self.message}\n  hint: {self.hint}"


def grouped(found: Sequence[LintWarning]) -> list[str]:
    """As texts, the findings of one kind together: twenty layers with one cause are one thing to know."""
    by_name: dict[str, list[LintWarning]] = {}
    for warning in found:
        by_name.setdefault(warning.name, []).append(warning)
    return [_together(alike) for alike in by_name.values()]


def _together(alike: Sequence[LintWarning]) -> str:
    """One hint where it is that of all; otherwise each with its own."""
    shown, own = alike[:SHOWN], any(other.hint != alike[0].hint for other in alike)
    lines = list[str]()
    for place, warning in enumerate(shown):
        lines.append(f"  also: {warning.message}" if place else f"warning[{warning.name}]: {warning.message}")
        lines += [f"  hint: {warning.hint}"] if own else []
    if len(alike) > SHOWN:
        lines.append(f"  also: {len(alike) - SHOWN} more, the last of them '{alike[-1].tensor}'")
    return "\n".join(lines if own else [*lines, f"  hint: {alike[0].hint}"])
