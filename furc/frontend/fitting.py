"""A model whose operators turn out not to fit while they are compiled: they go to the host, and the rest is compiled
again. Most of what the NPU cannot take is known when a model is read; how much SRAM the pieces of an operator need, and
whether a batch goes through it, is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from furc.frontend.onnx.hosted import Cause
from isa.errors import LowerError

Read = TypeVar("Read")
Made = TypeVar("Made")
MOVED = ("OutOfSram", "BatchNotPossible")
MOST_TIMES = 8  # a compile takes seconds; a model that fits nowhere is told by its first error


def fitted(read: Callable[[Mapping[str, Cause]], Read], make: Callable[[Read], Made]) -> Made:
    """What is made of what is read. read: takes nodes that are to be left to the host, by name, each with its reason.

    Raises what `make` raises where no node is to blame, or leaving it out does not help; then the first such error."""
    left: dict[str, Cause] = {}
    first: LowerError | None = None
    while True:
        try:
            return make(read(left))
        except LowerError as error:
            first = first or error
            new = {node: Cause(error.message, error.hint) for node in error.at.nodes if node not in left}
            if error.name not in MOVED or not new or len(left) >= MOST_TIMES:
                raise first from None
            left |= new
