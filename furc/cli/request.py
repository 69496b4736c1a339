"""The options that several commands share, handed over as the library takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from furc.compiler_config import compiler_config as checked
from furc.compiler_config import parse_settings, read_config
from furc.machine import DEFAULT_TARGET, what_if
from furc.profiling.measured import is_profile
from furc.profiling.profile import is_enf
from furc.request import Request
from isa.npu import TARGETS

FILE = click.Path(path_type=Path)
Value = TypeVar("Value")


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
            on=what_if(npu_config) if npu_config is not None else None,  # once: it may be a pipe
            batch=batch_size,
            settings=settings_of(compiler_config, settings),
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


def force_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--force, for commands that write files."""
    return click.option("--force", is_flag=True, help="Overwrite files that furc has not written.")(function)


def input_shape_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--input-shape, for commands that take no other options of a compile."""
    return _INPUT_SHAPE(function)


def open_batch_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """-b, for commands that take no other options of a compile."""
    return click.option(
        "-b", "--batch", "--batch-size", "batch", type=click.IntRange(min=1), metavar="N",
        help="What an open batch of the model becomes.",
    )(function)  # fmt: skip


def for_models(request: Request, *files: Path) -> None:
    """Refuse the options of a compile where no file is a model: binaries and profiles were compiled with their own."""
    if not all(is_enf(file) or is_profile(file) for file in files):
        return
    asked = {
        "--target-npu": request.target_npu,
        "--batch": request.batch,
        "-c or --compiler-config": request.settings,
        "--input-shape": request.input_shapes,
        "--strict": request.strict,
    }
    for option, value in asked.items():
        if value:
            what = "this file is" if len(files) == 1 else "both files are"
            raise click.UsageError(f"{option} is for models: {what} compiled already")


def input_files(words: tuple[str, ...]) -> dict[str, Path]:
    """What --input says."""
    return _each_once("'--input'", map(_named_file, words))


def shapes_of(words: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """What --input-shape says."""
    return _each_once("'--input-shape'", map(_shape, words))


def _each_once(option: str, pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in pairs:
        if name in found:
            raise click.BadParameter(f"'{name}' is given twice", param_hint=option)
        found[name] = value
    return found


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
    yield _INPUT_SHAPE
    yield click.option("--strict", is_flag=True, help="Refuse operators on the host beyond quantize and dequantize.")
    yield click.option("--no-cache", is_flag=True, help="Neither look into the compiler cache nor add to it.")


_INPUT_SHAPE = click.option(
    "--input-shape", multiple=True, metavar="NAME=1,3,640,640",
    help="The shape of an input that the model leaves open. Repeatable.",
)  # fmt: skip


def settings_of(file: Path | None, words: tuple[str, ...]) -> dict[str, object]:
    """What -C and -c say."""
    from_file = read_config(file) if file is not None else {}
    checked(from_file, str(file) if file is not None else "")  # so that an error names the file
    return from_file | parse_settings(words)


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not equals or not name or not file:
        raise click.BadParameter(f"'{text}' is not NAME=FILE", param_hint="'--input'")
    return name, Path(file)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, extents = text.rpartition("=")
    try:
        shape = tuple(int(extent) for extent in extents.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        raise click.BadParameter(f"'{text}' is not NAME=1,3,640,640", param_hint="'--input-shape'")
    return name, shape
