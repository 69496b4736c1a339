"""The compiler config: the keys users of the vendor's SDK know, and ours, checked once, where they enter."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from furc.frontend.onnx.placing import ALL, AUTO
from furc.plain_yaml import CONFIG_BYTES, PlainYamlError, read_yaml, shortened
from isa.errors import ConfigError, Loc
from passes.options import BEST, VENDOR

# Keys of the vendor's compiler that furc does not have; each with why, and what to do instead.
REFUSED = {
    "allow_precision_error": "furc's results do not depend on such a switch: leave it out",
    "remove_lower": "inputs of an ENF have the model's order of axes; Lower takes the host 0.23 ns an element",
    "remove_unlower": "outputs of an ENF have the model's order of axes; Unlower takes the host 0.23 ns an element",
    "lower_tabulated_dequantize": "furc dequantizes on the host; end the model in int8 to leave that out",
    "keep_unsignedness": "uint8 inputs stay uint8 for the user; the NPU computes in int8",
    "split_unit": "furc chooses splits by cost",
}
OPERATOR_SETS = ("seed28", "sdk0.10")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerConfig:
    """Each key as `furc info config` explains it."""

    use_program_loading: bool = False
    max_npu_segments: int | str = 1
    operator_set: str = OPERATOR_SETS[0]
    permute_input: tuple[tuple[int, ...], ...] = ()
    without_quantize: bool = False
    split_after_lower: bool = True
    schedule: str = VENDOR


class Key(NamedTuple):
    """expected: what its value may be; read: the value as the config holds it, None where it is none."""

    expected: str
    example: str
    meaning: str
    read: Callable[[object], object]


def _bool(value: object) -> object:
    return value if isinstance(value, bool) else None


def _segments(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return value if whole or value in (AUTO, ALL) else None


def _operator_set(value: object) -> object:
    return value if value in OPERATOR_SETS else None


def _schedule(value: object) -> object:
    return value if value in (VENDOR, BEST) else None


def _orders(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(order, list | tuple) for order in value):
        return None
    axes = [axis for order in value for axis in order]
    whole = all(isinstance(axis, int) and not isinstance(axis, bool) for axis in axes)
    return tuple(tuple(order) for order in value) if whole else None


def _true(value: object) -> object:
    return True if value is True else None


KEYS = {
    "use_program_loading": Key(
        "true or false", "true", "Load instructions while running where they exceed the instruction memory.", _bool
    ),
    "max_npu_segments": Key(
        "a number from 1 on, auto or all", "auto",
        "Parts of the model that may run on the NPU, the host between them; placed where it costs least. auto: any "
        "number; all: whatever the NPU takes, at any cost.",
        _segments,
    ),
    "operator_set": Key(
        " or ".join(OPERATOR_SETS), "sdk0.10", "Operators of the NPU: the 28, or the longer list of the SDK 0.10.",
        _operator_set,
    ),
    "permute_input": Key(
        "a list of axes for each input", "[[0, 3, 1, 2]]",
        "How the axes of the inputs that are given become those of the model; [] for an input that stays as it is.",
        _orders,
    ),
    "without_quantize": Key(
        "true or false", "true", "Take inputs as the integers that the model's first QuantizeLinear would make.", _bool
    ),
    "schedule": Key(
        f"{VENDOR} or {BEST}", BEST,
        "vendor: what the vendor's compiler does, as far as its latencies tell. best: the fastest that furc finds for "
        "the hardware.",
        _schedule,
    ),
    "split_after_lower": Key("true", "true", "Split operators after they are lowered, as furc always does.", _true),
}  # fmt: skip


def compiler_config(values: Mapping[str, object], source: str = "") -> CompilerConfig:
    """Check keys and types. Raises ConfigError naming the key, and the nearest known one."""
    found: dict[str, object] = {}
    for key, value in values.items():
        if key in REFUSED:
            raise ConfigError("UnsupportedConfigKey", f"'{key}' is not supported", at=Loc(source), hint=REFUSED[key])
        if key not in KEYS:
            near = difflib.get_close_matches(key, {*KEYS, *REFUSED}, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(KEYS))}"
            raise ConfigError(
                "UnknownConfigKey", f"no compiler config key '{shortened(key)}'", at=Loc(source), hint=hint
            )
        read = KEYS[key].read(value)
        if read is None:
            what = f"{key}: expected {KEYS[key].expected}, got {shortened(value)}"
            raise ConfigError("BadConfigValue", what, at=Loc(source), hint=f"{key}: {KEYS[key].example}")
        found[key] = read
    return CompilerConfig(**found)  # type: ignore[arg-type]


def config_keys() -> dict[str, list[object]]:
    """Every key: its default, what its value may be, and what it means. Refused ones: why."""
    defaults = {field.name: field.default for field in fields(CompilerConfig)}
    known = {name: [_shown(defaults[name]), key.expected, key.meaning] for name, key in KEYS.items()}
    return known | {name: ["", "refused", why] for name, why in REFUSED.items()}


def _shown(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else list(value) if isinstance(value, tuple) else value


def read_config(path: Path, line: str = "use_program_loading: true") -> dict[str, object]:
    """The mapping in a YAML file. line: of such a file, for hints. Raises ConfigError where it is no mapping."""
    at, hint = Loc(str(path)), f"write lines like {line}"
    try:
        with path.open("rb") as file:
            loaded = read_yaml(file.read(CONFIG_BYTES + 1).decode())
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = "not text" if isinstance(error, UnicodeDecodeError) else reason
        raise ConfigError("ConfigUnreadable", reason.splitlines()[0], at=at, hint=hint) from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ConfigError("ConfigUnreadable", "expected a mapping", at=at, hint=hint)
    return loaded


def parse_settings(settings: tuple[str, ...]) -> dict[str, object]:
    """KEY=VALUE words from the command line; values are YAML."""
    result: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            what = f"'{shortened(setting)}' is not KEY=VALUE"
            raise ConfigError("BadConfigValue", what, hint="-c use_program_loading=true")
        if key.strip() in result:
            raise ConfigError("BadConfigValue", f"{shortened(key.strip())} is given twice", hint="give it once")
        try:
            result[key.strip()] = read_yaml(value)
        except PlainYamlError as error:
            what = f"{shortened(key)}: cannot read '{shortened(value)}': {error}"
            raise ConfigError("BadConfigValue", what, hint="-c use_program_loading=true") from None
    return result
