"""A sweep: every point that no earlier sweep into the folder has measured, then the whole table.

result = sweep([Path("a.onnx"), Path("b.onnx")], Grid(vary={"num_slices": [32, 64]}), Path("sweep-out"))
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from furc.output import OutputError
from furc.progress import Progress, silent
from furc.sweep.cluster import measured_by_cluster
from furc.sweep.grid import Grid, Point, points
from furc.sweep.journal import Journal
from furc.sweep.measure import MAY_PASS, Result
from furc.sweep.models import read_models
from furc.sweep.processes import measured_by_processes, measured_here
from furc.sweep.rows import Sweep, row_of
from isa.errors import Loc
from isa.ort import cores

JOURNAL_FILE = "journal.jsonl"
Measured = Generator[tuple[Point, Result], None, None]


def sweep(
    models: Sequence[Path | str],
    grid: Grid | None = None,
    folder: Path | str | None = None,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Sweep:
    """Compile and profile every point. What goes wrong at a point is its status; the others go on.

    folder: where each result is kept as it comes, so that the same call goes on where it was ended, however it was; it
    is made where it is not there. jobs: processes, by default as many as there are cores; 1 for none but this.
    scheduler: the address of a Dask scheduler, whose workers do it instead. Raises FurcError.
    """
    asked, say = grid or Grid(), progress or silent
    todo = points(read_models([Path(model) for model in models]), asked)
    with nullcontext() if folder is None else _journal(Path(folder), force) as journal:
        results: dict[str, Result] = dict(journal.results) if journal is not None else {}
        reused = sum(point.key in results for point in todo)
        missing = list({point.key: point for point in todo if point.key not in results}.values())
        total = len({point.key for point in todo})
        before = total - len(missing)
        say("points", before, total)
        with closing(_measured(missing, jobs or cores(), scheduler)) as measured:
            for done, (point, result) in enumerate(measured, before + 1):
                results[point.key] = result
                if journal is not None and result["status"] not in MAY_PASS:
                    journal.add(point.key, result)
                say("points", done, total)
    rows = tuple(row_of(point, results[point.key]) for point in todo)
    return Sweep(rows=rows, constants=asked.constants, reused=reused)


def _journal(folder: Path, force: bool) -> Journal:
    """Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        what, hint = "there is a file of this name", "give the name of a folder"
        raise OutputError("OutputUnwritable", what, at=Loc(str(folder)), hint=hint) from None
    except (OSError, ValueError) as error:
        what = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise OutputError("OutputUnwritable", what, at=Loc(str(folder)), hint="give another folder") from error
    return Journal(folder / JOURNAL_FILE, force=force)


def _measured(missing: list[Point], jobs: int, scheduler: str | None) -> Measured:
    if scheduler is not None and missing:
        return measured_by_cluster(missing, scheduler)
    return measured_here(missing) if jobs == 1 else measured_by_processes(missing, jobs)
