"""Layers of two runs are matched by what they share, and add up to the whole difference."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import furc
from furc.diff_files import diff_files, diff_text
from furc.profile_files import profile_file, profile_text
from furc.profiling.diff import Diff, diff
from furc.profiling.measured import TOTALS, Amounts, read_measured
from furc.quantizer import QuantizeOptions, quantize_model
from furc.request import Request
from furc.zoo import digits
from isa import enf as enf_file
from isa.enf import Enf
from isa.errors import FurcError

# Of the JSON of a profile: which total each amount of the operators adds up to.
WHOLE = {"run_cycles": "cycles", "macs": "macs", "dram_bytes": "dram_bytes", "host_ms": "host_ms",
         "instruction_bytes": "instruction_bytes"}  # fmt: skip
Make = Callable[..., Enf]


@pytest.fixture(scope="session")
def make() -> Make:
    samples = [image[None] for image in digits.calibration_images()[:4]]
    int8 = quantize_model(digits.model(), samples, QuantizeOptions(method="MIN_MAX_ASYM"))

    def compiled(target: str = "warboy", batch: int = 1, **config: object) -> Enf:
        return furc.compile(int8, target_npu=target, batch_size=batch, compiler_config=config)

    return compiled


def operator(*nodes: str, name: str = "conv", cycles: float = 0.0, host_ms: float = 0.0, **more: Any) -> dict[str, Any]:
    values = {**dict.fromkeys(Amounts._fields, 0), "bound_by": "mac", "tensor": ""}
    spent = {"cycles": cycles, "run_cycles": cycles, "compute_cycles": cycles, "host_ms": host_ms}
    return {**values, **spent, "name": name, "onnx_nodes": list(nodes), **more}


def run(*operators: dict[str, Any], idle: float = 0.0) -> dict[str, Any]:
    totals = dict.fromkeys(TOTALS, 0.0)
    for amount, whole in WHOLE.items():
        totals[whole] = sum(o[amount] for o in operators)
    totals["cycles"] += idle
    return {"model": "m", "target": "warboy", "batch": 1, **totals, "operators": list(operators)}


def names(found: Diff) -> list[tuple[str, ...]]:
    return [layer.name for layer in found.layers]


def adds_up(found: Diff) -> None:
    for amount, whole in WHOLE.items():
        before, after = found.totals[whole]
        summed = math.fsum(getattr(layer.change, amount) for layer in (*found.layers, found.rest))
        assert summed == pytest.approx(after - before, rel=1e-9, abs=1e-6), amount


class TestLayers:
    def test_the_largest_change_is_first(self) -> None:
        before = run(operator("a", cycles=10), operator("b", cycles=10), operator("c", cycles=10))
        after = run(operator("a", cycles=11), operator("b", cycles=3), operator("c", cycles=10))
        assert names(diff(before, after)) == [("b",), ("a",), ("c",)]
        assert [layer.change.run_cycles for layer in diff(before, after).layers] == [-7, 1, 0]

    def test_one_that_is_split_stands_beside_its_pieces(self) -> None:
        before = run(operator("a", cycles=10))
        after = run(operator("a", cycles=4), operator("a", cycles=5), operator("a", name="pad", cycles=2))
        [layer] = diff(before, after).layers
        assert layer.change.cycles == 1 and layer.after.operators == (("conv", 2), ("pad", 1))

    def test_a_chain_of_fusions_is_one_layer(self) -> None:
        before = run(operator("a", "b", cycles=1), operator("c", "d", cycles=2), operator("e", cycles=3))
        after = run(
            operator("a", cycles=1), operator("b", "c", cycles=2), operator("d", cycles=2), operator("e", cycles=3)
        )
        assert names(diff(before, after)) == [("a", "b", "c", "d"), ("e",)]

    def test_without_nodes_the_name_and_the_tensor_tell(self) -> None:
        before = run(operator(name="Lower", tensor="x", host_ms=1), operator(name="Lower", tensor="y", host_ms=2))
        after = run(operator(name="Lower", tensor="y", host_ms=2), operator(name="Lower", tensor="x", host_ms=3))
        found = diff(before, after)
        assert names(found) == [("Lower x",), ("Lower y",)] and found.layers[0].change.host_ms == 2

    def test_a_node_and_an_operator_of_one_name_are_two_layers(self) -> None:
        assert len(diff(run(operator("x"), operator(name="x")), run()).layers) == 2

    def test_what_one_side_lacks_is_told(self) -> None:
        found = diff(run(operator("a", cycles=5)), run(operator("b", cycles=7)))
        assert [(layer.name, layer.only) for layer in found.layers] == [(("b",), "after"), (("a",), "before")]
        assert "only after: conv" in diff_text(found) and "only before: conv" in diff_text(found)

    def test_from_the_npu_to_the_host(self) -> None:
        [layer] = diff(run(operator("a", cycles=5)), run(operator("a", host_ms=0.5, bound_by="host"))).layers
        assert (layer.change.cycles, layer.change.host_ms) == (-5, 0.5)
        assert (layer.before.bound_by, layer.after.bound_by) == ("mac", "host")

    def test_cycles_in_which_nothing_works_are_a_row_of_their_own(self) -> None:
        found = diff(run(operator("a", cycles=5)), run(operator("a", cycles=5), idle=100))
        assert found.rest.change.run_cycles == 100 and not found.layers[0].changed

    def test_hidden_work_is_told_from_less_work(self) -> None:
        before, after = operator("a", cycles=10), operator("a", cycles=10, run_cycles=2)
        assert "same work, more of it hidden" in diff_text(diff(run(before), run(after)))
        assert "compute -4" in diff_text(diff(run(before), run(operator("a", cycles=6))))
        assert "compute +41 990;" in diff_text(diff(run(before), run(operator("a", cycles=42000))))


NODES = st.lists(st.sampled_from("abcdefgh"), max_size=3, unique=True)
OPERATORS = st.builds(lambda nodes, cycles, ms: operator(*nodes, cycles=cycles, host_ms=ms), NODES,
                      st.integers(0, 10**6), st.floats(0, 10))  # fmt: skip
RUNS = st.builds(lambda operators, idle: run(*operators, idle=idle), st.lists(OPERATORS, max_size=8), st.floats(0, 100))


@given(RUNS, RUNS)
def test_layers_add_up_and_share_no_node(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = diff(before, after)
    adds_up(found)
    named = [node for layer in found.layers for node in layer.name]
    assert len(named) == len(set(named))
    for other in found.to_json(), diff(after, before).to_json():
        json.dumps(other, allow_nan=False)


class TestOfModels:
    @pytest.mark.parametrize(
        "after", [{"target": "warboy-2pe"}, {"batch": 4}, {"use_program_loading": True}], ids=lambda a: next(iter(a))
    )
    def test_layers_add_up(self, make: Make, after: dict[str, Any]) -> None:
        found = diff(make(), make(**after))
        adds_up(found)
        assert len(found.layers) >= 10
        assert diff_text(found, "html").count(", modelled") == 2  # in the title and the heading

    def test_a_run_and_itself(self, make: Make) -> None:
        found = diff(make(), furc.profile(make()))
        assert not any(layer.changed for layer in (*found.layers, found.rest))
        assert "0 faster by 0, 0 slower by 0" in diff_text(found)

    def test_a_form_that_is_none_is_no_table(self, make: Make) -> None:
        with pytest.raises(FurcError, match="there is no form 'csv'"):
            diff_text(diff(make(), make()), "csv")
        with pytest.raises(FurcError, match="there is no form 'csv'"):
            profile_text(furc.profile(make()), "csv")

    def test_a_profile_and_its_file_are_the_same(self, make: Make, tmp_path: Path) -> None:
        enf_file.save(make(), tmp_path / "a.enf")
        profile = furc.profile(make(batch=2))
        (tmp_path / "b.json").write_text(json.dumps(profile.to_json()))
        of_files = diff_files(tmp_path / "a.enf", tmp_path / "b.json")
        assert of_files.to_json() == diff(make(), profile).to_json()

    @pytest.mark.parametrize("name", ["a.html", "page"])
    def test_a_page_is_no_profile(self, make: Make, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text(profile_text(furc.profile(make()), "html"))
        with pytest.raises(FurcError) as caught:
            diff_files(tmp_path / name, tmp_path / name)
        assert caught.value.name == "NotAProfile" and "--format json" in (caught.value.hint or "")

    def test_a_what_if_machine_beside_a_target(self, make: Make, tmp_path: Path) -> None:
        config = tmp_path / "half.toml"
        config.write_text('base = "warboy"\ndram_bytes_per_second = 33_000_000_000\n')
        half = Request(npu_config=config).npu()
        enf_file.save(make(), tmp_path / "a.enf")
        int8 = quantize_model(digits.model(), [digits.calibration_images()[0][None]], QuantizeOptions(method="MIN_MAX_ASYM"))  # fmt: skip # noqa: E501
        enf_file.save(furc.compile(int8, npu=half), tmp_path / "b.enf")
        found = diff_files(tmp_path / "a.enf", tmp_path / "b.enf", Request(npu_config=config))
        adds_up(found)
        assert found.to_json() == diff_files(tmp_path / "a.enf", tmp_path / "b.enf", Request(on=half)).to_json()
        assert profile_file(tmp_path / "b.enf", Request(on=half)).target == "warboy (what-if)"
        assert found.after.target == "warboy (what-if)" and "m on warboy, " not in diff_text(found, "table")
        with pytest.raises(FurcError, match="IncompatibleConfiguration"):
            diff_files(tmp_path / "a.enf", tmp_path / "b.enf")


class TestBadProfiles:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("{", "not JSON"),
            ("[1]", "this is not a JSON object"),
            ("{" * 5000, "not JSON"),
            ("[" * 100000, "not JSON"),
            ("{}", "'operators' is missing"),
            (json.dumps({**run(), "cycles": "many"}), "'cycles' is no number"),
            (json.dumps({**run(), "cycles": math.nan}), "'cycles' is no number"),
            (json.dumps({**run(), "batch": True}), "'batch' is no int"),
            (json.dumps({**run(), "operators": [operator("a"), {"name": "b"}]}), "operators[1]: 'tensor' is missing"),
            (
                json.dumps({**run(), "operators": [operator("a", run_cycles=None)]}),
                "operators[0]: 'run_cycles' is no number",
            ),
            (json.dumps(run(operator("a", onnx_nodes=[1]))), "operators[0]: 'onnx_nodes' is no list of names"),
        ],
    )
    def test_are_refused_by_what_is_wrong(self, tmp_path: Path, text: str, says: str) -> None:
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(FurcError) as caught:
            read_measured(tmp_path / "a.json")
        assert caught.value.name == "NotAProfile" and says in caught.value.message and caught.value.hint
        assert len(str(caught.value)) < 500

    def test_bytes_and_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(b"\xff\xfe")
        with pytest.raises(FurcError, match="NotAProfile"):
            read_measured(tmp_path / "a.json")
        with pytest.raises(FurcError, match="ProfileUnreadable"):
            read_measured(tmp_path / "missing.json")
