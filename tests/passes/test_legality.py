"""The table of operators: what it says of single nodes, and that the compiler and the page say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from furc.operators import page
from passes.dfg.legality import ACCELERATED_28, OPERATORS, Outcome, accelerated, verdict

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("op", "attributes", "shapes", "problem"),
    [
        ("Softmax", {"axis": 1}, [(36, 4)], "Softmax with large batch (36 > 2) cannot be accelerated by Warboy"),
        ("LpNormalization", {"p": 1}, [(1, 4)], "LpNormalization with p 1: Warboy accelerates p = 2"),
        ("Conv", {"group": 129}, [(1, 258, 1, 1), (129, 2, 1, 1)], "Conv with 129 groups, Warboy takes at most 128"),
        ("Conv", {"dilations": [13, 1]}, [(1, 3, 9, 9)], "Conv with dilation 13, Warboy takes at most 12"),
        ("ConvTranspose", {}, [(1, 2, 4, 4, 4)], "ConvTranspose over 3 axes does not run on the NPU, only over 1 or 2"),
        (
            "AveragePool", {"pads": [0, 1, 0, 0, 0, 0]}, [(1, 2, 4, 4, 4)],
            "AveragePool over 3 axes that leaves padding out of the mean does not run on the NPU",
        ),
        ("LogSoftmax", {}, [(1, 2)], "'LogSoftmax' cannot be accelerated yet"),
    ],
)  # fmt: skip
def test_a_broken_condition_is_told_with_its_value(
    op: str, attributes: dict[str, object], shapes: list[tuple[int, ...]], problem: str
) -> None:
    [finding] = verdict(op, attributes, shapes)
    assert finding.problem.startswith(problem)
    assert finding.outcome is Outcome.HOST and finding.remedy and finding.source and finding.condition


def test_the_28_are_accelerated_and_unknown_shapes_break_nothing() -> None:
    assert len(ACCELERATED_28) == 28
    for op in ACCELERATED_28:
        assert verdict(op, {}, [None]) == [] and accelerated(op)


def test_depthwise_convolutions_have_any_number_of_groups() -> None:
    assert verdict("Conv", {"group": 256}, [(1, 256, 8, 8), (256, 1, 3, 3)]) == []


def test_the_wider_set_has_more_and_the_default_says_so() -> None:
    [finding] = verdict("LeakyRelu", {}, [(1, 2)])
    assert finding.problem == "'LeakyRelu' cannot be accelerated yet"
    assert finding.remedy.startswith("compile with -c operator_set=sdk0.10, or replace it by Relu")
    assert verdict("LeakyRelu", {}, [(1, 2)], "sdk0.10") == []
    assert not accelerated("Tanh") and accelerated("Tanh", "sdk0.10")


def test_every_rule_has_a_remedy_and_a_source() -> None:
    for row in OPERATORS.values():
        assert row.how and row.source
        assert all(rule.remedy and rule.source and rule.condition for rule in row.rules), row.name


def test_the_page_of_operators_is_up_to_date() -> None:
    assert (ROOT / "docs" / "operators.md").read_text(encoding="utf-8") == page()
