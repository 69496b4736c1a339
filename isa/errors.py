"""Errors a user can act on, and the places they point at.

Every floor raises these; `furc/cli/main.py` is the one place that renders them.
Any other exception that escapes is a defect of furc.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_NODES = 6  # spelled out of a place: a part of a model that runs on the host has hundreds
LONGEST_WORD, LONGEST_TEXT = 240, 2000  # characters of a message: no exporter's names come near, damaged files pass it


@dataclass(frozen=True, slots=True)
class Loc:
    """Where something came from, in the user's own words.

    source: a file name or "". nodes: ONNX node names (the tensor it makes where a node has none).
    detail: line and column, byte offset or field, already spelled out.
    """

    source: str = ""
    nodes: tuple[str, ...] = ()
    detail: str = ""

    def merged(self, other: Loc) -> Loc:
        """Both places: the loc of an op that two ops were fused into."""
        extra = tuple(n for n in other.nodes if n not in self.nodes)
        return Loc(self.source or other.source, self.nodes + extra, self.detail or other.detail)

    def __str__(self) -> str:
        shown = [f"'{name}'" for name in self.nodes[:MOST_NODES]]
        more = [f"{len(self.nodes) - MOST_NODES} more"] if len(self.nodes) > MOST_NODES else []
        nodes = "node " + ", ".join([*shown, *more]) if shown else ""
        return printable(": ".join(part for part in (self.source, nodes, self.detail) if part))


def printable(text: str, keep: str = "") -> str:
    """Control characters escaped, but those to keep: names come from files, and a terminal obeys what it is shown."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and what there are so many of: 1 image, 2 images. plural: where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


NOWHERE = Loc()


def shortened(text: str) -> str:
    """Words and then the whole without their middle, where they have hundreds and thousands of characters."""
    return _ends(re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: _ends(word[0], LONGEST_WORD), text), LONGEST_TEXT)


def _ends(text: str, most: int) -> str:
    """The first and the last of a text that is too long, with the number of those between."""
    if len(text) <= most:
        return text
    head, tail = most // 2, most // 3
    return f"{text[:head]}...({len(text) - head - tail} more)...{text[-tail:]}"


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class FurcError(Exception):
    """The input is at fault: one message on stderr, no traceback, exit code 1.

    name: what scripts match on, printed as error[name]. message: what is wrong, with the values.
    at: where. also: other places, each a whole sentence. hint: what to do about it.
    """

    def __init__(
        self, name: str, message: str, *, at: Loc = NOWHERE, hint: str = "", also: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name, message)  # what it is made of anew when it travels from one process to another
        self.name, self.message, self.at, self.hint, self.also = name, message, at, hint, also

    def __str__(self) -> str:
        place, message, hint, *also = map(_shown, (str(self.at), self.message, self.hint, *self.also))
        lines = [f"error[{self.name}]: {place}: {message}" if place else f"error[{self.name}]: {message}"]
        lines += [f"  also: {line}" for line in also]
        lines += [f"  hint: {hint}"] if hint else []
        return "\n".join(lines)


def _shown(text: str) -> str:
    """For a terminal and a person."""
    return shortened(printable(text, keep="\n\t"))


class SourceError(FurcError):
    """A model, an image or IR text cannot be read."""


class VerifyError(FurcError):
    """A rule of an IR level does not hold."""


class LowerError(FurcError):
    """An operator is not supported, or something does not fit the machine."""


class ConfigError(FurcError):
    """A configuration key, value or file is wrong."""


class EncodeError(FurcError):
    """An instruction cannot be encoded, decoded or assembled."""


class EnfError(FurcError):
    """A binary is damaged, or made for another machine."""


class RunError(FurcError):
    """A program, or the data it was given, cannot run."""


class QuantizeError(FurcError):
    """A model cannot be quantized, or its calibration data cannot be used."""
