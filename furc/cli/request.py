"""What a user asks of the compiler on any command line that compiles, checked where it enters."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from isa.npu import NpuConfig
    from passes.options import CompileOptions

TARGETS = ("warboy", "warboy-2pe")
DEFAULT_TARGET = "warboy-2pe"
FILE = click.Path(path_type=Path)
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Options of a compile. batch: None where the user said nothing."""

    target_npu: str | None
    npu_config: Path | None
    batch: int | None
    settings: Mapping[str, object]
    input_shapes: Shapes
    strict: bool
    cache: bool

    def npu(self) -> NpuConfig:
        """The machine to compile for. Raises ConfigError."""
        from isa import npu as npus

        return npus.load_config(self.npu_config) if self.npu_config else npus.target(self.target_npu or DEFAULT_TARGET)

    def options(self, batch: int | None = None) -> CompileOptions:
        """What the passes see. batch: where the user said nothing. Raises ConfigError."""
        from dataclasses import replace

        from furc.compiler import compile_options

        asked = self.batch or batch or 1
        options = compile_options(self.target_npu or DEFAULT_TARGET, asked, self.settings, self.npu())
        return replace(options, strict=self.strict)

    def identity(self) -> bytes:
        """Everything that decides what a model compiles to, but for the model."""
        values = {
            "batch": self.batch,
            "settings": {key: self.settings[key] for key in sorted(self.settings)},
            "input_shapes": sorted(self.input_shapes.items()),
            "strict": self.strict,
            "npu": asdict(self.npu()),
        }
        return json.dumps(values, sort_keys=True, default=str).encode()


def takes_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of a compile, handed over as one `request`."""

    @functools.wraps(function)
    def wrapped(
        *,
        target_npu: str | None,
        npu_config: Path | None,
        batch_size: int | None,
        compiler_config: Path | None,
        settings: tuple[str, ...],
        input_shape: tuple[str, ...],
        strict: bool,
        no_cache: bool,
        **others: Any,
    ) -> Any:
        if target_npu and npu_config:
            raise click.UsageError("--target-npu and --npu-config both name the machine: give one of them")
        request = Request(
            target_npu=target_npu,
            npu_config=npu_config,
            batch=batch_size,
            settings=_settings(compiler_config, settings),
            input_shapes=shapes_of(input_shape),
            strict=strict,
            cache=not no_cache,
        )
        return function(request=request, **others)

    for option in reversed(list(_options())):
        wrapped = option(wrapped)
    return wrapped


def npu_config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--npu-config, for commands that take a binary made for such a machine."""
    return click.option(
        "--npu-config", type=FILE, metavar="FILE.toml",
        help="The what-if machine that the ENF was compiled for.  [default: the target in the ENF]",
    )(function)  # fmt: skip


def shapes_of(words: tuple[str, ...]) -> Shapes:
    """What --input-shape says."""
    return dict(_shape(word) for word in words)


def _options() -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    yield click.option(
        "--target-npu", type=click.Choice(TARGETS),
        help=f"One PE, or both fused.  [default: {DEFAULT_TARGET}]",
    )  # fmt: skip
    yield click.option(
        "-b", "--batch", "--batch-size", "batch_size", type=click.IntRange(min=1), metavar="N",
        help="Images a run takes.  [default: 1]",
    )  # fmt: skip
    yield click.option(
        "-C", "--compiler-config", type=FILE, metavar="FILE.yaml", help="Compiler config keys, as in -c, from a file."
    )
    yield click.option(
        "-c", "settings", multiple=True, metavar="KEY=VALUE",
        help="A compiler config key, e.g. use_program_loading=true; goes before --compiler-config. Repeatable.",
    )  # fmt: skip
    yield click.option(
        "--npu-config", type=FILE, metavar="FILE.toml",
        help="A what-if machine instead of a target: its constants, as `furc info --npu` lists them.",
    )  # fmt: skip
    yield click.option(
        "--input-shape", multiple=True, metavar="NAME=1,3,640,640",
        help="The shape of an input that the model leaves open. Repeatable.",
    )  # fmt: skip
    yield click.option("--strict", is_flag=True, help="Refuse operators on the host beyond quantize and dequantize.")
    yield click.option("--no-cache", is_flag=True, help="Neither look into the compiler cache nor add to it.")


def _settings(file: Path | None, words: tuple[str, ...]) -> dict[str, object]:
    if file is None and not words:
        return {}
    from furc.compiler_config import compiler_config, parse_settings, read_config

    from_file = read_config(file) if file is not None else {}
    compiler_config(from_file, str(file) if file is not None else "")  # so that an error names the file
    return from_file | parse_settings(words)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, extents = text.rpartition("=")
    try:
        shape = tuple(int(extent) for extent in extents.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        raise click.BadParameter(f"'{text}' is not NAME=1,3,640,640", param_hint="'--input-shape'")
    return name, shape
