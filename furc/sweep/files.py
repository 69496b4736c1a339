"""The table of a sweep as files: the same rows give the same bytes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from furc.optional import needed
from furc.output import HTML, PARQUET_MARK, SWEEP_CSV, SWEEP_PARQUET, Outputs
from furc.report.sweep_html import sweep_html
from furc.sweep.rows import Sweep

CSV_FILE, PARQUET_FILE, HTML_FILE = "sweep.csv", "sweep.parquet", "sweep.html"
_KINDS = {CSV_FILE: SWEEP_CSV, PARQUET_FILE: SWEEP_PARQUET, HTML_FILE: HTML}
_ARROW = {str: "string", int: "int64", float: "float64"}


def check_files(folder: Path, *, force: bool = False) -> None:
    """To be asked before work begins. Raises OutputError, and ConfigError MissingPackage."""
    needed("pyarrow", "sweep", PARQUET_FILE)
    outputs = Outputs(force=force)
    for name, kind in _KINDS.items() if folder.is_dir() else ():
        outputs.check(folder / name, kind)


def write_files(sweep: Sweep, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """All of them or none. Raises OutputError, and ConfigError MissingPackage."""
    outputs = Outputs(force=force)
    contents = {CSV_FILE: csv_bytes(sweep), PARQUET_FILE: parquet_bytes(sweep), HTML_FILE: sweep_html(sweep).encode()}
    for name, content in contents.items():
        outputs.add(folder / name, content, _KINDS[name])
    outputs.write()
    return tuple(folder / name for name in contents)


def csv_bytes(sweep: Sweep) -> bytes:
    """A heading and a row a point; empty cells where a point has no figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sweep.columns)
    writer.writerows(map(sweep.cells, sweep.rows))
    return text.getvalue().encode()


def parquet_bytes(sweep: Sweep) -> bytes:
    """The same, with types; nulls where a point has no figure."""
    arrow = needed("pyarrow", "sweep", PARQUET_FILE)
    parquet = needed("pyarrow.parquet", "sweep", PARQUET_FILE)
    kinds = [(name, getattr(arrow, _ARROW[kind])()) for name, kind in sweep.columns.items()]
    cells = [list(column) for column in zip(*map(sweep.cells, sweep.rows), strict=True)] or [[] for _ in kinds]
    schema = arrow.schema(kinds, metadata={b"furc": PARQUET_MARK})
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(cells, schema=schema), sink)
    written: bytes = sink.getvalue().to_pybytes()
    return written
