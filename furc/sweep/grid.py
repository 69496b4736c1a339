"""What a sweep goes over: the product of models, machines, batches, configurations and constants, as points."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from furc.cache import key_of
from furc.compiler import check_batch
from furc.compiler_config import KEYS, compiler_config
from furc.machine import DEFAULT_TARGET, machine
from furc.plain_yaml import PlainYamlError, read_yaml, shortened
from furc.request import Request, Shapes
from furc.sweep.models import ModelFiles
from isa.errors import ConfigError, printable
from isa.npu import NpuConfig, with_constants

MOST_POINTS = 100_000
CONSTANTS = tuple(f.name for f in fields(NpuConfig) if f.type != "str")
VARY = "--vary dram_bytes_per_second=33e9,66e9"
Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """targets: names, or TOML files of what-if machines. settings: compiler config keys of every point.

    vary: values by the name of a constant of the machine or a compiler config key. input_shapes, strict: as in Request.
    """

    targets: Sequence[str | Path] = (DEFAULT_TARGET,)
    batches: Sequence[int] = (1,)
    settings: Mapping[str, object] = field(default_factory=dict)
    vary: Mapping[str, Sequence[object]] = field(default_factory=dict)
    input_shapes: Shapes = field(default_factory=dict)
    strict: bool = False

    @property
    def constants(self) -> tuple[str, ...]:
        """The constants of the machine that vary."""
        return tuple(name for name in self.vary if name not in KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One compile and its profile. key: changes with everything that the result depends on, and with nothing else.

    target, configuration: how tables call them. constants: those that vary, with their values.
    """

    key: str
    model: ModelFiles
    target: str
    batch: int
    configuration: str
    constants: Mapping[str, Number]
    request: Request


def points(models: Sequence[ModelFiles], grid: Grid) -> list[Point]:
    """All of them, in the order of tables: models, targets, batches, configurations, constants.

    Raises ConfigError for whatever can be told to be wrong without compiling.
    """
    for batch in grid.batches:
        check_batch(batch)
    targets, batches = list(dict.fromkeys(grid.targets)), list(dict.fromkeys(grid.batches))
    sizes = [len(models), len(targets), len(batches), *(len(values) for values in grid.vary.values())]
    if math.prod(sizes) > MOST_POINTS:
        what = f"{math.prod(sizes)} points, at most {MOST_POINTS}"
        raise ConfigError("TooManyPoints", what, hint="vary less at once")
    machines = {target: list(_machines(target, label, grid)) for target, label in _labels(targets).items()}
    configurations, furc = list(_configurations(grid)), key_of([b"furc sweep"])
    return [
        _point(furc, model, machine, batch, settings, grid)
        for model, target, batch, settings in itertools.product(models, targets, batches, configurations)
        for machine in machines[target]
    ]


def parse_vary(words: Sequence[str]) -> dict[str, list[object]]:
    """NAME=VALUE,VALUE,... words from the command line; values are YAML. Raises ConfigError."""
    found: dict[str, list[object]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        try:
            values = read_yaml(f"[{text}]")
        except PlainYamlError as error:
            what = f"{shortened(name)}: cannot read '{shortened(text)}': {error}"
            raise ConfigError("BadVary", what, hint=VARY) from None
        if not equals or not name or not isinstance(values, list) or not values:
            raise ConfigError("BadVary", f"'{shortened(word)}' is not NAME=VALUE,VALUE", hint=VARY)
        if name in found:
            raise ConfigError("BadVary", f"{shortened(name)} is varied twice", hint="give all its values at once")
        found[name] = list({json.dumps(value, default=str): value for value in values}.values())  # each once
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    target: str
    constants: Mapping[str, Number]
    npu: NpuConfig


def _labels(targets: Sequence[str | Path]) -> dict[str | Path, str]:
    """What tables call each: a file by its stem, or by its path where another target is called so."""
    stems = {target: target.stem if isinstance(target, Path) else target for target in targets}
    names = list(stems.values())
    return {
        target: printable(str(target) if isinstance(target, Path) and names.count(stem) > 1 else stem)
        for target, stem in stems.items()
    }


def _machines(target: str | Path, label: str, grid: Grid) -> Iterator[_Machine]:
    """A target with every choice of constants. Raises ConfigError."""
    base = machine(None, target) if isinstance(target, Path) else machine(target)
    names = grid.constants
    for name in names:
        _known(name)
    for values in itertools.product(*(_numbers(name, grid.vary[name]) for name in names)):
        npu = with_constants(base, dict(zip(names, values, strict=True)))
        yield _Machine(target=label, constants={name: getattr(npu, name) for name in names}, npu=npu)


def _known(name: str) -> None:
    if name not in CONSTANTS:
        near = difflib.get_close_matches(name, (*CONSTANTS, *KEYS), 1)
        hint = f"did you mean '{near[0]}'?" if near else "`furc info --npu` and `furc info config` list what can vary"
        what = f"no constant of the machine and no compiler config key is called '{shortened(name)}'"
        raise ConfigError("UnknownVary", what, hint=hint)


def _numbers(name: str, values: Sequence[object]) -> list[Number]:
    """33e9 is a number, as it is in TOML; for YAML it is text."""
    found: list[Number] = []
    for value in values:
        number = _number(value)
        if number is None:
            raise ConfigError("BadNpuConstant", f"{name}: expected a number, got {shortened(value)}", hint=VARY)
        found.append(number)
    return list(dict.fromkeys(found))


def _number(value: object) -> Number | None:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _configurations(grid: Grid) -> Iterator[dict[str, object]]:
    """The settings of every point with every choice of those that vary. Raises ConfigError."""
    names = [name for name in grid.vary if name in KEYS]
    for values in itertools.product(*(grid.vary[name] for name in names)):
        settings = {**grid.settings, **dict(zip(names, values, strict=True))}
        compiler_config(settings)
        yield settings


def _point(
    furc: str, model: ModelFiles, machine: _Machine, batch: int, settings: dict[str, object], grid: Grid
) -> Point:
    request = Request(
        on=machine.npu, batch=batch, settings=settings, input_shapes=grid.input_shapes, strict=grid.strict, cache=False
    )
    parts = (furc.encode(), model.digest.encode(), request.identity())
    return Point(
        key=hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest(),
        model=model,
        target=machine.target,
        batch=batch,
        configuration=", ".join(f"{key}={_shown(settings[key])}" for key in sorted(settings)),
        constants=machine.constants,
        request=request,
    )


def _shown(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)
