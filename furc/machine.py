"""The machine that something is compiled for, or runs on."""

from __future__ import annotations

import re
from pathlib import Path

from furc.plain_yaml import DEEPEST
from isa import npu as npus
from isa.enf import Enf, check_compatible
from isa.errors import ConfigError, EnfError, Loc
from isa.npu import NpuConfig

DEFAULT_TARGET = "warboy-2pe"
LONGEST_MESSAGE = 300
_STRINGS = re.compile(r'"""(?:.|\n)*?"""|\'\'\'(?:.|\n)*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*')


def machine(target_npu: str | None = None, npu_config: Path | None = None) -> NpuConfig:
    """A target by name, or a what-if machine from a TOML file. Raises ConfigError."""
    return what_if(npu_config) if npu_config is not None else npus.target(target_npu or DEFAULT_TARGET)


def machine_of(enf: Enf, npu_config: Path | NpuConfig | None = None) -> NpuConfig:
    """The machine to run a binary on: a what-if machine or its file, else the target of the binary. Raises ConfigError,
    or EnfError where the binary needs another one."""
    if npu_config is None and enf.target not in npus.TARGETS:
        raise EnfError(
            "IncompatibleConfiguration", f"the file is for a machine called '{enf.target}'", at=Loc(enf.model_name),
            hint="give that machine by --npu-config",
        )  # fmt: skip
    npu = npu_config if isinstance(npu_config, NpuConfig) else machine(enf.target, npu_config)
    check_compatible(enf, npu)
    return npu


def what_if(path: Path) -> NpuConfig:
    """A machine from a TOML file of reasonable size and depth. Raises ConfigError."""
    text = npus.config_text(path)
    if _depth(text) > DEEPEST:
        raise _refused(path, f"nested more than {DEEPEST} deep")
    try:
        return npus.parse_config(text, str(path))
    except ConfigError as error:
        if len(error.message) <= LONGEST_MESSAGE:
            raise
        message = f"{error.message[:LONGEST_MESSAGE]}..."
        raise ConfigError(error.name, message, at=error.at, hint=error.hint[:LONGEST_MESSAGE]) from error


def _depth(text: str) -> int:
    """How deep values and dotted keys nest, outside strings and comments."""
    depth = deepest = 0
    bare = _STRINGS.sub("", text)
    for character in bare:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return max(deepest, *(line.count(".") for line in bare.split("\n")))


def _refused(path: Path, what: str) -> ConfigError:
    return ConfigError("NpuConfigUnreadable", what, at=Loc(str(path)), hint="a few lines like num_slices = 32 will do")
