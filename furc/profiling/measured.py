"""A profile as numbers by name: of a Profile, or of the JSON that `furc profile` wrote, which is checked here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from furc.reading import calls_itself, read_at_most
from isa.errors import Loc, SourceError

# In the order in which they are shown.
TOTALS = (
    "latency_ms", "npu_ms", "first_npu_ms", "host_ms", "cycles", "dram_bytes", "macs", "mac_utilization",
    "instruction_bytes", "program_loads", "sram_peak_bytes",
)  # fmt: skip
MOST_BYTES = 1 << 28
T = TypeVar("T")
WRITE_AGAIN = "write it with this furc: furc profile MODEL --format json -o FILE.json"


class Amounts(NamedTuple):
    """What adds up over operators; the keys of the JSON of a profile. In cycles, bytes and ms."""

    run_cycles: float = 0.0
    cycles: float = 0.0
    load_cycles: float = 0.0
    compute_cycles: float = 0.0
    store_cycles: float = 0.0
    macs: float = 0.0
    dram_bytes: float = 0.0
    instruction_bytes: float = 0.0
    host_ms: float = 0.0

    def minus(self, other: Amounts) -> Amounts:
        return Amounts(*(a - b for a, b in zip(self, other, strict=True)))


# Of these a run has a total; of work it has none, for engines overlap.
_WHOLE = {"run_cycles": "cycles", "macs": "macs", "dram_bytes": "dram_bytes",
          "instruction_bytes": "instruction_bytes", "host_ms": "host_ms"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredOperator:
    """An operator of the NPU or the host."""

    name: str
    tensor: str
    nodes: tuple[str, ...]
    bound_by: str
    amounts: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run: totals by the keys of TOTALS, and its operators. source: the file it is from, "" where it is from none."""

    source: str
    model: str
    target: str
    batch: int
    totals: Mapping[str, float]
    operators: tuple[MeasuredOperator, ...]

    @property
    def clock_hz(self) -> float:
        """As far as the figures tell; 0 where nothing ran."""
        return 1e3 * self.totals["cycles"] / self.totals["npu_ms"] if self.totals["npu_ms"] else 0.0

    def rest(self) -> Amounts:
        """What a run has beyond its operators: cycles in which no engine works, instructions of the program itself."""
        summed = total(operator.amounts for operator in self.operators)
        return Amounts(**{key: self.totals[whole] - getattr(summed, key) for key, whole in _WHOLE.items()})


def total(amounts: Iterable[Amounts]) -> Amounts:
    """The sum, without the rounding that depends on an order."""
    return Amounts(*map(math.fsum, zip(Amounts(), *amounts, strict=True)))


def read_measured(path: Path) -> Measured:
    """The profile in a JSON file. Raises SourceError ProfileUnreadable, NotAProfile."""
    at = Loc(str(path))
    try:
        if path.exists() and path.stat().st_size > MOST_BYTES:
            raise SourceError("NotAProfile", f"more than {MOST_BYTES} bytes", at=at, hint=WRITE_AGAIN)
        text = read_at_most(path, MOST_BYTES).decode()
    except UnicodeDecodeError:
        raise SourceError("NotAProfile", "this is not text", at=at, hint=WRITE_AGAIN) from None
    except OSError as error:
        what = error.strerror or str(error)
        raise SourceError("ProfileUnreadable", what, at=at, hint="check the path of the profile") from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError("NotAProfile", f"not JSON: {error}", at=at, hint=WRITE_AGAIN) from error
    return measured(values, str(path))


def is_profile(path: Path) -> bool:
    """True for a file that calls itself JSON, by its name or by its first byte."""
    return calls_itself(path, ".json", b"{")


def measured(values: object, source: str = "") -> Measured:
    """The profile in what `Profile.to_json` gives. Raises SourceError NotAProfile, which says what is missing."""
    whole = _Record(values, source, "")
    operators = whole.take("operators", list)
    return Measured(
        source=source,
        model=whole.take("model", str),
        target=whole.take("target", str),
        batch=whole.take("batch", int),
        totals={key: whole.number(key) for key in TOTALS},
        operators=tuple(_operator(_Record(one, source, f"operators[{i}]: ")) for i, one in enumerate(operators)),
    )


class _Record:
    """An object of the JSON. where: what stands before a key in messages."""

    def __init__(self, values: object, source: str, where: str) -> None:
        self.source, self.where = source, where
        if not isinstance(values, dict):
            raise self._refused("this is not a JSON object")
        self.values = values

    def take(self, key: str, kind: type[T]) -> T:
        if key not in self.values:
            raise self._refused(f"'{key}' is missing")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._refused(f"'{key}' is no {kind.__name__}")
        return value

    def number(self, key: str) -> float:
        value = self.take(key, object)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise self._refused(f"'{key}' is no number")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        values = self.take(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self._refused(f"'{key}' is no list of names")
        return tuple(values)

    def _refused(self, what: str) -> SourceError:
        return SourceError("NotAProfile", f"{self.where}{what}", at=Loc(self.source), hint=WRITE_AGAIN)


def _operator(values: _Record) -> MeasuredOperator:
    return MeasuredOperator(
        name=values.take("name", str),
        tensor=values.take("tensor", str),
        nodes=values.names("onnx_nodes"),
        bound_by=values.take("bound_by", str),
        amounts=Amounts(**{key: values.number(key) for key in Amounts._fields}),
    )
