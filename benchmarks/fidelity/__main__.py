"""Modelled against published latencies: `python -m benchmarks.fidelity [--zoo DIR] [--fit] [--html FILE]`.

Without --zoo the rows whose graphs furc.zoo builds are used; with it, also the skeletons (*.skel.onnx) of that folder
and its published.csv. Queries of a batch, to which nothing is fitted, have a table of their own, and so have the single
operators of two networks. Models are quantized by furc's quantizer and by onnxruntime's; the fit is to the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.fidelity.fit import Fidelity, Program, fidelity, fit
from benchmarks.fidelity.operators import operator_fidelity, operator_tables
from benchmarks.fidelity.page import fidelity_page
from benchmarks.fidelity.rows import FURC, ONNXRUNTIME, binaries, offline
from furc.report.tables import plain
from furc.zoo.published import PUBLISHED, Row, published
from isa.npu import TARGETS, target
from isa.program import fetch


def main() -> None:
    """Print the table; with --fit, also the constants to write into isa/targets/warboy.toml."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    parser.add_argument("--zoo", type=Path, help="folder of *.skel.onnx and published.csv")
    parser.add_argument("--fit", action="store_true", help="fit the undocumented constants")
    parser.add_argument("--models", help="only these, separated by commas")
    parser.add_argument("--quantizer", choices=(FURC, ONNXRUNTIME), help="by this one alone  [default: both]")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write tables, scatter plot and residuals")
    options = parser.parse_args()
    rows, batched = published(options.zoo / "published.csv" if options.zoo else PUBLISHED), offline()
    profiles = operator_fidelity()
    if options.models:
        rows, batched = ([row for row in each if row.model in options.models.split(",")] for each in (rows, batched))
        profiles = [each for each in profiles if each.model in options.models.split(",")]
    names = [options.quantizer] if options.quantizer else [FURC, ONNXRUNTIME]
    by_quantizer = {name: compiled(rows, options.zoo, name) for name in names}
    results = {name: fidelity(each) for name, each in by_quantizer.items() if each}
    tables = operator_tables(profiles) if profiles else []
    for name, result in results.items():
        print(f"quantized by {name}")
        show(result)
    if options.html:
        options.html.write_text(fidelity_page(results, tables), encoding="utf-8")
    if batched:
        print("\nqueries of a batch, on one PE")
        show(fidelity(compiled(batched, options.zoo)))
    for table in tables:
        print(f"\n{plain(table)}", end="")
    if options.fit:
        best = fit(by_quantizer[names[0]], print)
        print("\nin-sample")
        show(best.inside)
        print("\neach family modelled by the constants of a fit without it")
        show(best.left_out)
        for name, value in best.constants.items():
            low, high = best.intervals[name]
            print(f"{name} = {value:.4g}  (90% of resampled models: {low:.4g} to {high:.4g})")


def compiled(rows: list[Row], zoo: Path | None, quantizer: str = FURC) -> list[Program]:
    """The programs of the rows that have a graph."""
    machines = {name: target(name) for name in TARGETS}
    return [
        (row, fetch(enf, machines[row.target]), machines[row.target])
        for row, enf in binaries(rows, machines, zoo, quantizer)
    ]


def show(result: Fidelity) -> None:
    """The table and its summary."""
    print(f"{'model':18}{'target':12}{'published ms':>13}{'modelled ms':>13}{'error':>9}")
    for (row, ms), error in zip(result.rows, result.errors, strict=True):
        print(f"{row.model:18}{row.target:12}{row.ms:13.3f}{ms:13.3f}{error:+9.1%}")
    for name, part in result.by_family():
        print(f"{name:18}{len(part.rows):2} rows  MAPE {part.mape:6.1%}  bias {part.bias:+6.1%}")
    print(f"rows {len(result.rows)}  MAPE {result.mape:.1%}  worst {result.worst:+.1%}  bias {result.bias:+.1%}")


if __name__ == "__main__":
    main()
