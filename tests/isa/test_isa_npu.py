"""Reading target files: what they must hold, and what a wrong one is told."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from isa.errors import ConfigError
from isa.npu import TARGETS, NpuConfig, load_config, parse_config, sources, target, with_constants


def _load(text: str, folder: Path) -> NpuConfig:
    path = folder / "what-if.toml"
    path.write_text(text)
    return load_config(path)


@pytest.mark.parametrize("name", TARGETS)
def test_every_constant_of_a_target_has_a_source(name: str) -> None:
    assert target(name).name == name
    known = sources(name)
    kinds = ("cfg", "doc", "chosen", "fitted", "measured", "inference")
    for constant in fields(NpuConfig):
        if constant.name != "name":
            assert known[constant.name].startswith(kinds), (constant.name, known[constant.name])


def test_the_fused_pair_is_two_of_one_pe() -> None:
    one, two = target("warboy"), target("warboy-2pe")
    assert two.num_slices == 2 * one.num_slices and two.sram_bytes == 2 * one.sram_bytes
    assert two.macs_per_cycle == 2 * one.macs_per_cycle
    assert two.clock_hz == one.clock_hz and two.dram_bytes_per_second == one.dram_bytes_per_second


def test_a_what_if_file_changes_only_what_it_names(tmp_path: Path) -> None:
    config = _load('base = "warboy"\nclock_hz = 1_000_000_000\n[mac_width]\nvalue = 64\n', tmp_path)
    assert (config.clock_hz, config.mac_width) == (1_000_000_000, 64)
    assert config.num_slices == target("warboy").num_slices
    assert config.fingerprint() != target("warboy").fingerprint() == target("warboy").fingerprint()
    assert config.milliseconds(1_000_000) == 1.0


def test_a_whole_number_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    written = _load('base = "warboy"\ndram_bytes_per_second = 33e9\nclock_hz = { value = 1e9 }\n', tmp_path)
    assert written == with_constants(target("warboy"), {"dram_bytes_per_second": 33e9, "clock_hz": 1e9})
    assert isinstance(written.dram_bytes_per_second, int) and isinstance(written.clock_hz, int)


def test_constants_change_one_by_one() -> None:
    half = with_constants(target("warboy"), {"num_slices": 32.0, "dram_bytes_per_second": 33e9, "dram_efficiency": 1})
    assert (half.num_slices, half.dram_bytes_per_second, half.name) == (32, 33_000_000_000, "warboy")
    assert isinstance(half.num_slices, int) and isinstance(half.dram_efficiency, float)
    assert with_constants(half, {"num_slices": 64}).num_slices == 64
    with pytest.raises(ConfigError, match="did you mean 'num_slices'"):
        with_constants(half, {"num_slice": 1})
    for value in ("2", 2.5, True, None, 0, 10**9):
        with pytest.raises(ConfigError, match="BadNpuConstant"):
            with_constants(half, {"num_slices": value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'base = "warboy"\nmac_widht = 64',
            "error[UnknownNpuConstant]: {at}: no constant 'mac_widht'\n  hint: did you mean 'mac_width'?",
        ),
        ('base = "warboy"\nqqq = 1', "error[UnknownNpuConstant]: {at}: no constant 'qqq'\n  hint: "),
        (
            'base = "warboy"\nmac_width = "wide"',
            "error[BadNpuConstant]: {at}: mac_width: expected int, got 'wide'",
        ),
        ('base = "warboy"\nmac_width = 1.5', "error[BadNpuConstant]: {at}: mac_width: expected int, got 1.5"),
        ('base = "warboy"\nmac_width = true', "error[BadNpuConstant]: {at}: mac_width: expected int, got True"),
        (
            'base = "warboy"\n[mac_width]\nsource = "x"',
            "error[BadNpuConstant]: {at}: mac_width: expected int, got None",
        ),
        ('base = "warboy"\nclock_hz = ' + "9" * 5000, "error[NpuConfigUnreadable]: {at}: not TOML: Exceeds the limit"),
        ("x = " + "[" * 5000 + "]" * 5000, "error[NpuConfigUnreadable]: {at}: not TOML: maximum recursion depth"),
        ('base = "warboy"\nclock_hz = 0', "error[BadNpuConstant]: {at}: clock_hz: 0 is not positive"),
        ('base = "warboy"\ndram_efficiency = nan', "error[BadNpuConstant]: {at}: dram_efficiency: nan is not positive"),
        (
            'base = "warboy"\nmac_width = 1e30',
            "error[BadNpuConstant]: {at}: mac_width: expected 1e-12 to 1e+15\n  hint: ",
        ),
        (
            'base = "warboy"\ndram_efficiency = 1e-300',
            "error[BadNpuConstant]: {at}: dram_efficiency: expected 1e-12 to 1e+15\n  hint: ",
        ),
        (
            'base = "warboy"\ndram_efficiency = inf',
            "error[BadNpuConstant]: {at}: dram_efficiency: inf is not positive and finite",
        ),
        (
            'base = "warboy"\ndram_efficiency = 1.5',
            "error[BadNpuConstant]: {at}: dram_efficiency: 1.5 is above 1: no transfer is faster than dram_",
        ),
        (
            'base = "warboy"\ncompletion_tags = 1',
            "error[BadNpuConstant]: {at}: completion_tags: expected 4 to 32, got 1\n  hint: ",
        ),
        (
            'base = "warboy"\nsram_access_bytes = 3',
            "error[BadNpuConstant]: {at}: sram_access_bytes: expected 8 to 1024, a multiple of 8, got 3\n  hint: ",
        ),
        ('base = "warboi"', "error[UnknownTarget]: no target 'warboi'\n  hint: use one of warboy, warboy-2pe"),
        ("mac_width = 64", "error[MissingNpuConstant]: {at}: no value for name, num_pes, "),
        ("mac_width = ", "error[NpuConfigUnreadable]: {at}: not TOML: "),
    ],
)
def test_a_wrong_file_is_told_which_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(text, tmp_path)
    assert str(caught.value).startswith(message.format(at=tmp_path / "what-if.toml"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("missing.toml", "binary.toml"):
        with pytest.raises(ConfigError, match="NpuConfigUnreadable"):
            load_config(tmp_path / name)


def test_an_unknown_target_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="use one of warboy, warboy-2pe"):
        target("renegade")


def test_a_variant_is_not_called_as_its_target() -> None:
    assert target("warboy").title == "warboy"
    assert parse_config('base = "warboy"\nnum_slices = 32', "a.toml").title == "warboy (what-if)"
    assert parse_config('base = "warboy"\nname = "half"\nnum_slices = 32', "a.toml").title == "half"
    assert parse_config('base = "warboy"', "a.toml").title == "warboy"  # nothing differs
