"""One finding of `lint`."""

from __future__ import annotations

from dataclasses import dataclass

from isa.errors import NOWHERE, Loc


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
