"""What the closing report says of operators on the host: node, reason with the limit, remedy, time, other
placements."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import onnx
import pytest

sys.path.append(str(Path(__file__).parents[1] / "frontend"))
from click.testing import CliRunner
from qdq_models import Qdq

from furc.build import Built, build
from furc.check import check_file
from furc.cli.main import cli
from furc.profiling.budget import budget_from_json
from furc.report.budget_table import budget_tables
from furc.report.placement_table import placement_table
from furc.report.tables import plain
from furc.request import Request
from passes.ir.graph import Placement


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution too far apart for Warboy between two that it takes."""
    m = Qdq("int8")
    x = m.quantized(m.node("Conv", m.float_input(1, 32, 64, 64), m.weights(32, 32, 3, 3), pads=[1] * 4))
    far = m.node("Conv", x, m.weights(32, 32, 3, 3), dilations=[13, 13], pads=[13] * 4)
    m.output(m.quantized(m.node("Conv", m.quantized(far), m.weights(32, 32, 3, 3), pads=[1] * 4)))
    made = tmp_path_factory.mktemp("placement") / "m.onnx"
    onnx.save(m.model(), made)
    return made


@pytest.fixture(scope="module")
def built(path: Path) -> Built:
    return build(path, Request(cache=False))


def test_each_has_node_reason_limit_and_remedy(built: Built) -> None:
    (far, *_) = [work for work in built.budget.host if work.is_of_the_model]
    assert far.nodes and far.ms > 0 and "dilation 13, Warboy takes at most 12" in far.reason and far.remedy
    report = "\n".join(plain(table) for table in budget_tables(built.budget))
    assert far.nodes[0] in report and far.reason in report and far.remedy in report


def test_the_chosen_placement_is_the_cheapest_of_those_allowed(path: Path, built: Built) -> None:
    placements = {placement.key: placement for placement in built.budget.placements}
    one, auto = placements["-c max_npu_segments=1"], placements["-c max_npu_segments=auto"]
    assert [p for p in placements.values() if p.chosen] == [one] and one.npu_parts == 1
    assert auto.ms <= min(placement.ms for placement in placements.values())
    assert placements["-c max_npu_segments=all"].npu_parts == 2 and placements[""].npu_parts == 0
    asked = build(path, Request(cache=False, settings={"max_npu_segments": "auto"})).budget.placements
    assert [placement.key for placement in asked if placement.chosen] == ["-c max_npu_segments=auto"]


def test_they_survive_the_cache(built: Built) -> None:
    assert budget_from_json(built.budget.to_json()) == built.budget


def test_a_placement_without_an_estimate_says_so() -> None:
    ways = [Placement(way=way, key="", npu_parts=1, on_host=1, ms=ms, chosen=way == "a") for way, ms in
            (("a", 0.5), ("b", 0.75), ("c", math.inf))]  # fmt: skip
    for chosen in ("a", "c"):
        table = placement_table(tuple(way._replace(chosen=way.way == chosen) for way in ways))
        assert table is not None and "inf" not in plain(table)
        assert table.rows[2][3:5] == ("unknown", "chosen" if chosen == "c" else "")
        assert table.rows[1][3:5] == ("0.750", "" if chosen == "c" else "+0.250 ms")


def test_check_and_compile_print_them(path: Path, tmp_path: Path) -> None:
    for words in (["check", str(path)], ["compile", str(path), "-o", str(tmp_path / "m.enf"), "--no-cache"]):
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0 and "Placements on NPU and host that were considered" in result.output
        assert "chosen" in result.output and "all on the host" in result.output


def test_a_strict_check_fails_where_the_compile_would(path: Path) -> None:
    result = CliRunner().invoke(cli, ["check", str(path), "--strict"])
    assert result.exit_code == 1 and "Placements on NPU" in result.output
    assert CliRunner().invoke(cli, ["compile", str(path), "--strict"]).exit_code == 1


def test_a_model_that_is_all_on_the_npu_has_none(tmp_path: Path) -> None:
    m = Qdq("int8")
    m.output(m.quantized(m.node("Conv", m.float_input(1, 4, 8, 8), m.weights(4, 4, 3, 3))))
    onnx.save(m.model(), tmp_path / "m.onnx")
    assert not check_file(tmp_path / "m.onnx").placements
    assert len(budget_tables(build(tmp_path / "m.onnx", Request(cache=False)).budget)) == 2
