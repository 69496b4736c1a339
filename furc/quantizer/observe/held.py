"""Samples kept in memory, for what must look at data more than once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from furc.onnx.graph import Array
from furc.quantizer.observe.float_run import Feed

KEPT_SAMPLES = 32
KEPT_BYTES = 256 << 20


class Kept(NamedTuple):
    """The first samples of a stream, and the stream behind them."""

    samples: list[dict[str, Array]]
    rest: Iterator[dict[str, Array]]

    def all(self) -> Iterator[Feed]:
        """The whole stream again, once."""
        return itertools.chain(self.samples, self.rest)


def some_of(samples: Sequence[Feed], count: int) -> list[Feed]:
    """So many of them, from the first to the last, at equal distances; all where there are no more."""
    return [samples[i] for i in sorted({round(i) for i in np.linspace(0, len(samples) - 1, count)})]


def keep(stream: Iterable[dict[str, Array]]) -> Kept:
    """Take samples from a stream until there are KEPT_SAMPLES of them or KEPT_BYTES are used."""
    rest, samples, used = iter(stream), list[dict[str, Array]](), 0
    for sample in rest:
        samples.append(sample)
        used += sum(array.nbytes for array in sample.values())
        if len(samples) == KEPT_SAMPLES or used > KEPT_BYTES:
            break
    return Kept(samples, rest)
