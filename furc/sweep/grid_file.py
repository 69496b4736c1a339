"""A sweep that is written down: a YAML file with the options of `furc sweep` as keys.

models: [a.onnx, b.onnx]      # relative to the file
target_npu: [warboy, warboy-2pe]
batch: [1, 4]
compiler_config: {operator_set: sdk0.10}
vary: {dram_bytes_per_second: [33e9, 66e9], use_program_loading: [true, false]}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from furc.compiler_config import read_config
from furc.plain_yaml import shortened
from furc.sweep.grid import Grid
from isa.errors import ConfigError, Loc

KEYS = ("models", "target_npu", "npu_config", "batch", "compiler_config", "vary", "input_shape", "strict")


class Written(NamedTuple):
    """What a file says; a grid of defaults where it says nothing."""

    models: tuple[Path, ...] = ()
    grid: Grid = Grid()


EXPECTED = {int: "a whole number", str: "a text", bool: "true or false"}


def read_grid(path: Path) -> Written:
    """Raises ConfigError ConfigUnreadable, UnknownGridKey, BadGridValue."""
    values = read_config(path, "batch: [1, 4]; docs/commands.md has an example")
    for key in values:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(KEYS)}"
            raise ConfigError("UnknownGridKey", f"no key '{shortened(key)}'", at=Loc(str(path)), hint=hint)
    file, here = _File(path, values), path.parent
    targets = (*file.some("target_npu", str), *(here / name for name in file.some("npu_config", str)))
    grid = Grid(
        targets=targets or Grid().targets,
        batches=file.some("batch", int) or Grid().batches,
        settings=file.mapping("compiler_config"),
        vary={name: _listed(value) for name, value in file.mapping("vary").items()},
        input_shapes={name: file.shape(name, value) for name, value in file.mapping("input_shape").items()},
        strict=any(file.some("strict", bool)),
    )
    return Written(tuple(here / name for name in file.some("models", str)), grid)


class _File:
    """Values by key, taken as what they must be."""

    def __init__(self, path: Path, values: Mapping[str, object]) -> None:
        self.path, self.values = path, values

    def some(self, key: str, kind: type) -> tuple[Any, ...]:
        """One, or a list of them."""
        found = _listed(self.values.get(key, []))
        if not all(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) for value in found):
            raise self._refused(key, f"{EXPECTED[kind]} or a list of them")
        return tuple(found)

    def mapping(self, key: str) -> dict[str, Any]:
        found = self.values.get(key, {})
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise self._refused(key, "a mapping")
        return found

    def shape(self, name: str, value: object) -> tuple[int, ...]:
        extents = _listed(value)
        if not extents or not all(isinstance(e, int) and not isinstance(e, bool) and e >= 1 for e in extents):
            raise self._refused("input_shape", f"numbers from 1 on for '{shortened(name)}'")
        return tuple(extents)

    def _refused(self, key: str, expected: str) -> ConfigError:
        what = f"{key}: expected {expected}, got {shortened(self.values[key])}"
        return ConfigError("BadGridValue", what, at=Loc(str(self.path)), hint="docs/commands.md has an example")


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
