"""The operators of two networks, as the vendor's profiler documentation times them and as furc's clock does.

The vendor gives a mean for each kind of operator, and the run as the sum of all. An operator of furc takes as long as
the tensor unit is busy with it: the profiles show neither loads nor stores, which the whole program has beside them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.fidelity.examples import EXAMPLES
from furc.profiling.profile import profile
from furc.report.tables import Column, Table, shape
from isa.npu import target

OPERATORS = Path(__file__).with_name("operators.csv")
TARGET = "warboy-2pe"  # the profiler's default device
RUN = "NPU Run"  # the vendor's row for all operators together
COUNTED_AS = {"LowLevelAveragePool": "LowLevelDepthwiseConv2d"}  # where the vendor's profiles have a pool of averages
ONE_BY_ONE = "mnistnet"  # few enough operators for a table of each
TIMES = (Column("published us", right=True), Column("modelled us", right=True), Column("error", right=True))


class Mean(NamedTuple):
    """Of a kind: how many operators there are, and how long one takes."""

    number: int
    us: float


class Operator(NamedTuple):
    """One of furc's. kind: the vendor's name for it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFidelity:
    """A network's operators. published_us: their sum. modelled: in the order in which they end.

    program_us: the modelled run, loads and stores included.
    """

    model: str
    published: dict[str, Mean]
    published_us: float
    modelled: tuple[Operator, ...]
    program_us: float

    @property
    def modelled_us(self) -> float:
        return sum(operator.us for operator in self.modelled)

    @property
    def sum_error(self) -> float:
        return self.modelled_us / self.published_us - 1

    def by_kind(self) -> Iterator[tuple[str, Mean | None, Mean | None]]:
        """Published and modelled; None where one side has no such operator."""
        for kind in dict.fromkeys((*self.published, *(operator.kind for operator in self.modelled))):
            found = [operator.us for operator in self.modelled if operator.kind == kind]
            yield kind, self.published.get(kind), Mean(len(found), sum(found) / len(found)) if found else None


def operator_fidelity(path: Path = OPERATORS) -> list[OperatorFidelity]:
    """Every network of an operators.csv."""
    published: dict[str, dict[str, Mean]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            published.setdefault(row["model"], {})[row["operator"]] = Mean(int(row["count"]), float(row["us"]))
    return [_beside_published(model, kinds) for model, kinds in published.items()]


def _beside_published(model: str, kinds: dict[str, Mean]) -> OperatorFidelity:
    npu, run = target(TARGET), profile(EXAMPLES[model](), target_npu=TARGET)
    return OperatorFidelity(
        model=model,
        published={name: mean for name, mean in kinds.items() if name != RUN},
        published_us=kinds[RUN].us,
        modelled=tuple(
            Operator(o.name, COUNTED_AS.get(o.name, o.name), o.shape, 1e3 * npu.milliseconds(o.compute_cycles))
            for o in sorted(run.operators, key=lambda o: o.end_cycle)
            if o.compute_cycles
        ),
        program_us=1e3 * run.npu_ms,
    )


def operator_tables(results: list[OperatorFidelity]) -> list[Table]:
    """By kind; where operators are few, also one by one beside the published mean of their kind."""
    return [_by_kind(results), *(_one_by_one(each) for each in results if each.model == ONE_BY_ONE)]


def _by_kind(results: list[OperatorFidelity]) -> Table:
    rows = []
    for each in results:
        for kind, published, modelled in each.by_kind():
            counts = [str(side.number) if side else "" for side in (published, modelled)]
            us = _times(published.us if published else None, modelled.us if modelled else None)
            rows.append((each.model, kind, counts[0], us[0], counts[1], *us[1:]))
        for name, total in (("sum", each.modelled_us), ("with loads and stores", each.program_us)):
            us = _times(each.published_us, total)
            rows.append((each.model, name, "", us[0], "", *us[1:]))
    count, (published_us, *modelled_us) = Column("count", right=True), TIMES
    return Table(
        title=f"operators on {TARGET}, the mean of each kind",
        columns=(Column("model"), Column("operator"), count, published_us, count, *modelled_us),
        rows=tuple(rows),
    )


def _one_by_one(result: OperatorFidelity) -> Table:
    rows = []
    for operator in result.modelled:
        mean = result.published.get(operator.kind)
        rows.append((operator.name, shape(operator.shape), *_times(mean.us if mean else None, operator.us)))
    return Table(
        title=f"operators of {result.model} one by one, published: the mean of the kind",
        columns=(Column("operator"), Column("shape", right=True), *TIMES),
        rows=tuple(rows),
    )


def _times(published: float | None, modelled: float | None) -> tuple[str, str, str]:
    """Cells for TIMES."""
    error = f"{modelled / published - 1:+.1%}" if published and modelled else ""
    both = ["" if us is None else f"{us:.3f}" for us in (published, modelled)]
    return both[0], both[1], error
