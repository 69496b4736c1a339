"""furc sweep: models on machines, batches and configurations, each point compiled and profiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from furc.cli.command import EXIT_USER
from furc.cli.command import command as declare
from furc.cli.display import saved, say, show
from furc.cli.progress import Bar
from furc.cli.request import FILE, force_option, settings_of, shapes_of
from furc.report.sweep_table import points_table, verdict
from furc.sweep import Grid, sweep
from furc.sweep.files import check_files, write_files
from furc.sweep.grid import parse_vary
from furc.sweep.grid_file import Written, read_grid
from isa.npu import TARGETS

TOP = 20


@declare("sweep", short_help="Time models on many machines, batches and configurations.")
@click.argument("models", type=FILE, nargs=-1, metavar="[MODEL]...")
@click.option("-o", "--output", type=FILE, required=True, metavar="DIR",
              help="Where results are kept, and the tables go. The same command again goes on from there.")  # fmt: skip
@click.option("--grid", "grid_file", type=FILE, metavar="FILE.yaml",
              help="Models and options from a file; those given here go before it.")  # fmt: skip
@click.option("--target-npu", "targets", multiple=True, type=click.Choice(TARGETS),
              help="A target. Repeatable.  [default: warboy-2pe]")  # fmt: skip
@click.option("--npu-config", "machines", multiple=True, type=FILE, metavar="FILE.toml",
              help="A what-if machine. Repeatable.")  # fmt: skip
@click.option("-b", "--batch", "--batch-size", "batches", multiple=True, type=click.IntRange(min=1), metavar="N",
              help="Images a run takes. Repeatable.  [default: 1]")  # fmt: skip
@click.option("--vary", multiple=True, metavar="NAME=V1,V2",
              help="Values of a constant of the machine or of a compiler config key, e.g. num_slices=32,64. "
              "Repeatable: every combination.")  # fmt: skip
@click.option("-c", "settings", multiple=True, metavar="KEY=VALUE",
              help="A compiler config key of every point. Repeatable.")  # fmt: skip
@click.option("-C", "--compiler-config", type=FILE, metavar="FILE.yaml", help="Such keys from a file.")
@click.option("--input-shape", multiple=True, metavar="NAME=1,3,640,640",
              help="The shape of an input that a model leaves open. Repeatable.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Refuse operators on the host beyond quantize and dequantize.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: one a core]")
@click.option("--scheduler", metavar="ADDRESS", help="Let a Dask cluster do it, e.g. tcp://host:8786.")
@click.option("--top", type=click.IntRange(min=1), default=TOP, metavar="N",
              help="Points in the table on stdout.")  # fmt: skip
@force_option
@click.pass_context
def command(
    context: click.Context, /, models: tuple[Path, ...], output: Path, grid_file: Path | None, jobs: int | None,
    scheduler: str | None, top: int, force: bool, **words: Any,
) -> None:  # fmt: skip
    """Compile and profile every MODEL on every target, at every batch, with every combination of --vary.

    A point that cannot be compiled is a row with its error; exit code 1 where none can. DIR gets sweep.csv,
    sweep.parquet, and sweep.html: latency against each constant, the Pareto fronts, all points. The tables are the same
    by whatever --jobs or --scheduler.
    """
    if jobs is not None and scheduler is not None:
        raise click.UsageError("--jobs and --scheduler both say who does the work: give one of them")
    written = read_grid(grid_file) if grid_file is not None else Written()
    if not models and not written.models:
        raise click.UsageError("Missing argument 'MODEL', or models in a --grid")
    grid = _grid(written.grid, **words)
    check_files(output, force=force)
    with Bar() as bar:
        found = sweep(models or written.models, grid, output, jobs=jobs, scheduler=scheduler, progress=bar, force=force)
    files = write_files(found, output, force=force)
    show(points_table(found, top))
    before = f"; {found.reused} of them were measured before" if found.reused else ""
    say(f"{verdict(found)}{before}", err=True)
    for path in files:
        saved(path)
    if not any(row.ok for row in found.rows):
        context.exit(EXIT_USER)


def _grid(
    grid: Grid, *, targets: tuple[str, ...], machines: tuple[Path, ...], batches: tuple[int, ...],
    vary: tuple[str, ...], settings: tuple[str, ...], compiler_config: Path | None, input_shape: tuple[str, ...],
    strict: bool,
) -> Grid:  # fmt: skip
    """A grid where the options say something else."""
    return Grid(
        targets=(*targets, *machines) or grid.targets,
        batches=batches or grid.batches,
        settings={**grid.settings, **settings_of(compiler_config, settings)},
        vary={**grid.vary, **parse_vary(vary)},
        input_shapes={**grid.input_shapes, **shapes_of(input_shape)},
        strict=strict or grid.strict,
    )
