"""The compiler config: the keys users of the vendor's SDK know, checked once, where they enter."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from furc.plain_yaml import CONFIG_BYTES, PlainYamlError, read_yaml, shortened
from isa.errors import ConfigError, Loc

# Keys of the vendor's compiler that furc knows but does not have; each with what to do instead.
KNOWN_ELSEWHERE = {
    "permute_input": "transpose the input before you feed it",
    "allow_precision_error": "furc's results do not depend on such a switch",
    "remove_lower": "furc keeps the host's re-layout",
    "remove_unlower": "furc keeps the host's re-layout",
    "lower_tabulated_dequantize": "furc dequantizes on the host",
    "keep_unsignedness": "uint8 inputs stay uint8 for the user; the NPU computes in int8",
    "split_unit": "furc chooses splits by cost",
    "split_after_lower": "furc splits before it lowers",
    "without_quantize": "use furc.quantizer.ModelEditor to take uint8 input",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerConfig:
    """use_program_loading: load instructions while running where they exceed the instruction memory."""

    use_program_loading: bool = False


def compiler_config(values: Mapping[str, object], source: str = "") -> CompilerConfig:
    """Check keys and types. Raises ConfigError naming the key, and the nearest known one."""
    known = {f.name for f in fields(CompilerConfig)}
    for key, value in values.items():
        if key in KNOWN_ELSEWHERE:
            raise ConfigError(
                "UnsupportedConfigKey", f"'{key}' is not supported", at=Loc(source), hint=KNOWN_ELSEWHERE[key]
            )
        if key not in known:
            near = difflib.get_close_matches(key, known | set(KNOWN_ELSEWHERE), 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(known))}"
            raise ConfigError(
                "UnknownConfigKey", f"no compiler config key '{shortened(key)}'", at=Loc(source), hint=hint
            )
        if not isinstance(value, bool):
            raise ConfigError(
                "BadConfigValue",
                f"{key}: expected true or false, got {shortened(value)}",
                at=Loc(source),
                hint=f"{key}: true",
            )
    return CompilerConfig(**values)  # type: ignore[arg-type]


def read_config(path: Path) -> dict[str, object]:
    """The mapping in a YAML file. Raises ConfigError where it is no mapping."""
    at, hint = Loc(str(path)), "write lines like use_program_loading: true"
    try:
        with path.open("rb") as file:
            loaded = read_yaml(file.read(CONFIG_BYTES + 1).decode())
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError("ConfigUnreadable", reason.splitlines()[0], at=at, hint=hint) from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ConfigError("ConfigUnreadable", "expected a mapping", at=at, hint="use_program_loading: true")
    return loaded


def parse_settings(settings: tuple[str, ...]) -> dict[str, object]:
    """KEY=VALUE words from the command line; values are YAML."""
    result: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            what = f"'{shortened(setting)}' is not KEY=VALUE"
            raise ConfigError("BadConfigValue", what, hint="-c use_program_loading=true")
        try:
            result[key.strip()] = read_yaml(value)
        except PlainYamlError as error:
            what = f"{shortened(key)}: cannot read '{shortened(value)}': {error}"
            raise ConfigError("BadConfigValue", what, hint="-c use_program_loading=true") from None
    return result
