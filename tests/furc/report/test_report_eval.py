"""The page of an evaluation: names from models and files are escaped, images are linked from where the page lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from furc.evaluate.result import Change, ClassRow, Estimate, Evaluation, Scored, Task
from furc.report.eval_html import evaluation_html
from furc.report.eval_table import models_table

EVIL = "<script>alert(1)</script>"


def evaluation() -> Evaluation:
    figures = [{"top-1": Estimate(value, value - 5, value + 5)} for value in (80.0, 70.0)]
    models = (
        Scored(name="a.onnx", where="ONNX Runtime", seconds=1, figures=figures[0]),
        Scored(name=EVIL, where="NPU", seconds=2, figures=figures[1], differences={"top-1": Estimate(-10, -12, -8)},
               sqnr_db=20, cosine=0.99, agreement=85),
    )  # fmt: skip
    change = Change(image=EVIL, path=Path("val") / "a b#.png", model=EVIL, truth=EVIL, before=EVIL, after="x", gain=-1,
                    sqnr_db=None)  # fmt: skip
    return Evaluation(task=Task.CLASSIFICATION, images=10, left_out=0, reference=0, models=models,
                      classes=(ClassRow(EVIL, 5, (80.0, 60.0)),), changes=(change,))  # fmt: skip


def test_names_are_escaped_and_images_linked() -> None:
    page = evaluation_html(evaluation(), Path("out")).rpartition("</script></head>")[2]
    assert EVIL not in page and "&lt;script&gt;alert(1)" in page
    assert 'href="../val/a%20b%23.png"' in page


def test_small_differences_are_not_drawn_in_micros() -> None:
    assert '"exponentformat":"none"' in evaluation_html(evaluation())


def test_a_chart_of_one_class_has_room_for_the_legend_of_many_models() -> None:
    found = evaluation()
    others = tuple(replace(found.models[1], name=f"{n}.enf") for n in range(5))
    row = replace(found.classes[0], values=(80.0, *(60.0 + n for n in range(5))))
    page = evaluation_html(replace(found, models=(found.models[0], *others), classes=(row,)))
    assert '"height":240' in page  # as a chart of five classes


def test_differences_and_the_share_kept_stand_beside_the_reference() -> None:
    table = models_table(evaluation())
    assert [column.heading for column in table.columns][5:8] == ["change", "its interval", "kept"]
    assert table.rows[1][3:8] == ("70.00", "65.00 .. 75.00", "-10.00", "-12.00 .. -8.00", "87.5%")
    assert table.rows[0][5:8] == ("", "", "")
