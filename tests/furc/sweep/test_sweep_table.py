"""The table and its files: the same rows give the same bytes, whatever they are called."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from furc import optional
from furc.output import SWEEP_CSV, SWEEP_PARQUET
from furc.report.sweep_html import sweep_html
from furc.report.sweep_table import points_table, short
from furc.report.tables import plain
from furc.sweep.files import check_files, csv_bytes, parquet_bytes, write_files
from furc.sweep.measure import FIGURES
from furc.sweep.rows import Row, Sweep, front
from isa.errors import FurcError


def row(latency: float = 1.0, rate: float = 100.0, **more: Any) -> Row:
    figures: dict[str, Any] = {name: kind(7) for name, kind in FIGURES.items()}
    place = {"model": "m", "target": "warboy", "batch": 1, "configuration": "", "constants": {}}
    values = {**place, "status": "ok", "message": "", **more}
    ok = values["status"] == "ok"
    return Row(figures={**figures, "latency_ms": latency, "images_per_second": rate} if ok else {}, **values)


def some() -> Sweep:
    slices = [{"num_slices": n, "dram_bytes": 0.5} for n in (2, 32, 64)]
    rows = [
        row(9.5 / n, model=model, batch=n, constants=c) for model in ("a", "b</script>") for n in (1, 4) for c in slices
    ]
    bad = row(status="ProgramTooLong", message='it\nis, "long" \x1b', constants=slices[0], configuration="x=[1, 2]")
    return Sweep(rows=(*rows, bad), constants=("num_slices", "dram_bytes"))


def test_parquet_and_csv_have_the_same_cells() -> None:
    sweep = some()
    Path("t.parquet").write_bytes(parquet_bytes(sweep))
    table = parquet.read_table("t.parquet")
    cells = list(csv.reader(io.StringIO(csv_bytes(sweep).decode(), newline="")))
    assert cells[0] == table.column_names == list(sweep.columns)
    assert cells[0][:6] == ["model", "target", "batch", "configuration", "npu.num_slices", "npu.dram_bytes"]
    typed = [["" if cell is None else str(cell) for cell in one.values()] for one in table.to_pylist()]
    assert typed == cells[1:] and len(typed) == 13
    kinds = {field.name: str(field.type) for field in table.schema}
    assert (kinds["npu.num_slices"], kinds["npu.dram_bytes"], kinds["macs"]) == ("int64", "double", "int64")
    assert table.column("latency_ms").null_count == 1


def test_the_same_rows_give_the_same_bytes() -> None:
    assert parquet_bytes(some()) == parquet_bytes(some()) and sweep_html(some()) == sweep_html(some())


def test_no_points_are_a_table_too() -> None:
    for sweep in (Sweep(rows=(), constants=()), Sweep(rows=(row(status="E"),), constants=())):
        assert csv_bytes(sweep).startswith(b"model,") and parquet_bytes(sweep).startswith(b"PAR1")
        assert "<html" in sweep_html(sweep)


def test_names_cannot_end_the_script_of_the_page() -> None:
    page = sweep_html(some())
    assert page.count("</script>") == page.count("<script>")
    assert "ProgramTooLong" in page and "Latency against num_slices" in page and "Latency against throughput" in page


def test_values_that_were_chosen_have_ticks_and_measured_ones_not_for_they_may_lie_on_each_other() -> None:
    rows = tuple(row(66.7 - n / 1000, constants={"num_slices": n}) for n in (32, 64))
    page = sweep_html(Sweep(rows=rows, constants=("num_slices",)))
    layouts = [json.loads(f"[{call}]")[1] for call in re.findall(r'newPlot\("figure\d+", (.*)\);</script>', page)]
    ticks = {layout["xaxis"]["title"]["text"]: layout["xaxis"].get("tickvals") for layout in layouts}
    assert ticks == {"num_slices": [32, 64], "images/s": None}
    assert all("tickvals" not in layout["yaxis"] for layout in layouts)


def test_the_time_of_the_npu_is_drawn_where_the_host_takes_most_of_the_latency() -> None:
    def page(latency: float) -> str:
        rows = tuple(row(latency, constants={"num_slices": n}) for n in (32, 64))  # of which the NPU takes 7 ms
        return sweep_html(Sweep(rows=rows, constants=("num_slices",)))

    assert "NPU time against num_slices" in page(66.7)
    assert "NPU time against num_slices" not in page(7.3)


def test_the_front_is_what_nothing_beats() -> None:
    a, b, c, d = row(1, 10), row(2, 30), row(3, 20), row(1, 10)
    other = row(9, 1, model="n")
    assert front([c, b, other, a, d, row(status="E")]) == [b, other, a, d]


def test_a_front_over_a_constant_is_of_a_batch() -> None:
    cheap, dear, waste = (row(ms, constants={"num_slices": n}) for ms, n in ((3, 2), (2, 32), (2, 64)))
    four = row(8, batch=4, constants={"num_slices": 64})
    assert front([cheap, dear, waste, four], "num_slices") == [cheap, dear, four]


def test_a_long_table_is_its_front() -> None:
    told = plain(points_table(some(), 4))
    assert told.startswith("Of 13 points those that no other of the model beats") and "\x1b" not in told
    assert plain(points_table(some(), 40)).startswith("13 points\n")


@pytest.mark.parametrize(("value", "shown"), [(66e9, "66e9"), (16_500_000_000, "16.5e9"), (64, "64"), (0.11, "0.11"),
                                             (1234567, "1234567"), (1e6, "1e6")])  # fmt: skip
def test_constants_are_short(value: float, shown: str) -> None:
    assert short(value) == shown and float(shown) == value


class TestFiles:
    def test_what_furc_wrote_it_may_write_again(self) -> None:
        for _ in range(2):
            check_files(Path())
            written = write_files(some(), Path())
            assert [path.name for path in written] == ["sweep.csv", "sweep.parquet", "sweep.html"]
        assert SWEEP_CSV.recognizes(Path("sweep.csv")) and SWEEP_PARQUET.recognizes(Path("sweep.parquet"))

    @pytest.mark.parametrize("name", ["sweep.csv", "sweep.parquet", "sweep.html"])
    def test_somebody_elses_file_stays(self, name: str) -> None:
        import pyarrow  # here: to write a file of somebody else

        parquet.write_table(pyarrow.table({"a": [1]}), "theirs")
        for content in (b"my,notes\n", Path("theirs").read_bytes(), b"PAR1"):
            Path(name).write_bytes(content)
            for act in (lambda: check_files(Path()), lambda: write_files(some(), Path())):
                with pytest.raises(FurcError, match="WouldOverwrite"):
                    act()
            assert Path(name).read_bytes() == content
        write_files(some(), Path(), force=True)
        check_files(Path())

    def test_without_pyarrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr(optional, "import_module", missing)
        with pytest.raises(FurcError) as caught:
            check_files(Path())
        assert caught.value.name == "MissingPackage" and "pyarrow" in caught.value.message
        assert caught.value.hint == "pip install 'furc[sweep]'"


def test_the_page_draws_as_many_lines_as_can_be_told_apart() -> None:
    rows = [row(n + 1.0, model=f"m{n}", constants={"num_slices": s}) for n in range(80) for s in (1, 2)]
    page = sweep_html(Sweep(rows=tuple(rows), constants=("num_slices",)))
    assert "The first 60 of 80 lines." in page
    json.dumps(page)
