"""The constants of the machine: one frozen record, read from isa/targets/*.toml.

A target file gives each constant as a table {value, source}; `base = "warboy"` inherits what it does not
name, so a what-if file (`--npu-config`) is as short as the question.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

from isa.errors import ConfigError, Loc
from isa.operands import MAX_DRAM_BYTES

TARGETS = ("warboy", "warboy-2pe")
TARGET_FILES = Path(__file__).parent / "targets"
CONFIG_BYTES = 1 << 16
NS_PER_MS = 1e6
NPU_CONFIG = 'write a TOML file with base = "warboy" and lines like num_slices = 32'


@dataclass(frozen=True, slots=True, kw_only=True)
class NpuConfig:
    """One NPU. Units are in the names; bytes and cycles are per slice where the name says so or [cfg] does.

    Where each value comes from stands in its target file. Rates without "second" are per cycle of clock_hz.
    """

    name: str
    num_pes: int
    clock_hz: int
    profiler_clock_hz: int
    num_slices: int
    sram_bytes_per_slice: int
    sram_access_bytes: int
    slice_hop_cycles: int
    mac_width: int
    mac_height: int
    shift_register_width: int
    fetch_bytes_per_cycle: int
    weight_register_bytes: int
    fetch_reuse_groups: int
    vector_register_bytes: int
    vector_lanes: int
    table_ports: int
    te_io_bytes_per_cycle: int
    sfr_bytes_per_cycle: int
    pipeline_warmup_cycles: int
    control_delay_cycles: int
    operand_queue_depth: int
    io_queue_depth: int
    completion_tags: int
    instruction_memory_bytes: int
    dram_bytes: int
    dram_bytes_per_second: int
    dram_bulk_bytes: int
    dram_alignment_bytes: int
    host_link_bytes_per_second: int
    host_quantize_ns_per_element: float
    host_dequantize_ns_per_element: float
    host_copy_ns_per_element: float
    host_ns_per_mac: float
    command_setup_cycles: float
    program_switch_cycles: float
    dma_latency_cycles: float
    dram_efficiency: float
    timing_error: float

    @property
    def sram_bytes(self) -> int:
        """All slices together, in bytes."""
        return self.num_slices * self.sram_bytes_per_slice

    @property
    def macs_per_cycle(self) -> int:
        """Peak multiply-accumulates a cycle over all slices."""
        return self.num_slices * self.mac_width * self.mac_height

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Peak DRAM rate in bytes a cycle; what a transfer reaches is this times dram_efficiency."""
        return self.dram_bytes_per_second / self.clock_hz

    @property
    def weight_bank_bytes(self) -> int:
        """Half the weight register file: one bank computes while the other is filled."""
        return self.weight_register_bytes // 2

    @property
    def channels_per_pass(self) -> int:
        """Output channels a slice computes for one fetched row: the reuse groups times the array's height."""
        return self.fetch_reuse_groups * self.mac_height

    @property
    def is_target(self) -> bool:
        """Whether it is one of TARGETS as that is."""
        return self.name in TARGETS and self == target(self.name)

    @property
    def title(self) -> str:
        """What reports call it: a machine that has a target's name and other constants is a variant of it."""
        return self.name if self.name not in TARGETS or self.is_target else f"{self.name} (what-if)"

    def fingerprint(self) -> str:
        """Twelve hex digits that change with any constant; an ENF carries it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def milliseconds(self, cycles: float) -> float:
        """Cycles of clock_hz in ms."""
        return cycles / self.clock_hz * 1e3


@cache
def target(name: str) -> NpuConfig:
    """A target by its name. Raises ConfigError UnknownTarget."""
    return _build(_target_values(name), name)


def load_config(path: Path) -> NpuConfig:
    """A what-if configuration from a TOML file. Raises ConfigError naming the key that is wrong."""
    return parse_config(config_text(path), str(path))


def config_text(path: Path) -> str:
    """Of a file or a pipe, which may never end. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES + 1)
        if len(data) > CONFIG_BYTES:
            raise OSError(errno.EFBIG, f"more than {CONFIG_BYTES} bytes")
        return data.decode()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "not text"
        raise ConfigError("NpuConfigUnreadable", why, at=Loc(str(path)), hint=NPU_CONFIG) from error


def parse_config(text: str, where: str) -> NpuConfig:
    """As `load_config`, of a text. where: what messages call it."""
    return _varied(_build(_resolve(text, where), where), where)


def with_constants(base: NpuConfig, constants: Mapping[str, object], where: str = "") -> NpuConfig:
    """A machine with some constants changed; it keeps its name, as one whose file has a base does.

    A whole number may be a float: 33e9. Raises ConfigError naming the constant that is wrong.
    """
    changed: dict[str, object] = {}
    for key, value in constants.items():
        kind = _kind_of(key, where)
        value = _whole(value) if kind == "int" else value
        _check(key, kind, value, where)
        changed[key] = float(value) if kind == "float" and isinstance(value, int) else value  # one value, one machine
    return _varied(replace(base, **changed), where)  # type: ignore[arg-type]


def sources(name: str) -> dict[str, str]:
    """Where each constant of a target comes from, by key."""
    return {key: source for key, (_, source) in _target_values(name).items()}


# Facts of Warboy that no figure of furc depends on, and why. A what-if machine that changed one would answer nothing.
DESCRIPTIVE = {
    "profiler_clock_hz": "every time is in cycles of clock_hz; ticks of the profiler would only round it",
    "shift_register_width": "taps of a kernel row are served at any width; what feeds them is te_io_bytes_per_cycle",
}
_Values = dict[str, tuple[object, str]]
LEAST, MOST = 1e-12, 1e15  # of any constant
# What the encoding can say and the compiler can work with: low, high, step. Other constants are free.
_LIMITS = {
    "num_slices": (1, 256, 1),
    "sram_bytes_per_slice": (8, 1 << 18, 8),
    "sram_access_bytes": (8, 1 << 10, 8),
    "weight_register_bytes": (2, 1 << 14, 1),
    "vector_register_bytes": (16, 1 << 20, 1),
    "completion_tags": (4, 32, 1),  # one for each unit with a queue
    "instruction_memory_bytes": (256, 1 << 18, 128),  # two halves that DMA can fill
    "dram_bytes": (64, MAX_DRAM_BYTES, 1),
    "dram_alignment_bytes": (64, 1 << 20, 64),
}


def _target_values(name: str) -> _Values:
    if name not in TARGETS:
        raise ConfigError("UnknownTarget", f"no target '{name}'", hint=f"use one of {', '.join(TARGETS)}")
    return _resolve((TARGET_FILES / f"{name}.toml").read_text(), f"isa/targets/{name}.toml")


def _resolve(text: str, where: str) -> _Values:
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits and values 1,000 deep are not its own kind
        raise ConfigError("NpuConfigUnreadable", f"not TOML: {error}", at=Loc(where), hint=NPU_CONFIG) from error
    base = table.pop("base", None)
    values: _Values = dict(_target_values(str(base))) if base is not None else {}
    for key, entry in table.items():
        kind = _kind_of(key, where)
        value, source = (entry.get("value"), entry.get("source", where)) if isinstance(entry, dict) else (entry, where)
        value = _whole(value) if kind == "int" else value
        _check(key, kind, value, where)
        values[key] = (value, str(source))
    return values


def _whole(value: object) -> object:
    """33e9 as a whole number; everything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _kind_of(key: str, where: str) -> object:
    """What the value of a constant is. Raises ConfigError with the nearest name there is."""
    known = {f.name: f.type for f in fields(NpuConfig)}
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else "`furc info --npu` lists every constant"
        raise ConfigError("UnknownNpuConstant", f"no constant '{key}'", at=Loc(where), hint=hint)
    return known[key]


def _check(key: str, kind: object, value: object, where: str) -> None:
    wanted: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
    if isinstance(value, bool) or not isinstance(value, wanted[str(kind)]):
        raise ConfigError("BadNpuConstant", f"{key}: expected {kind}, got {value!r}", at=Loc(where))
    if isinstance(value, int | float) and not 0 < value < math.inf:
        raise ConfigError("BadNpuConstant", f"{key}: {value} is not positive and finite", at=Loc(where))
    if isinstance(value, int | float) and not LEAST <= value <= MOST:  # which may have any number of digits
        what = f"{key}: expected {LEAST:g} to {MOST:g}"
        hint = "beyond that an instruction's share of the time is lost in rounding"
        raise ConfigError("BadNpuConstant", what, at=Loc(where), hint=hint)
    if key == "timing_error" and isinstance(value, int | float) and value >= 1:
        what = f"{key}: {value} is not below 1: a time that is off by all of itself has no upper end"
        raise ConfigError("BadNpuConstant", what, at=Loc(where), hint="0.11 is 11%")
    if key == "dram_efficiency" and isinstance(value, int | float) and value > 1:
        what = f"{key}: {value} is above 1: no transfer is faster than dram_bytes_per_second"
        raise ConfigError("BadNpuConstant", what, at=Loc(where), hint="more bandwidth is more dram_bytes_per_second")
    if key in _LIMITS and isinstance(value, int):
        low, high, step = _LIMITS[key]
        if not low <= value <= high or value % step:
            multiple = f", a multiple of {step}" if step > 1 else ""
            raise ConfigError(
                "BadNpuConstant", f"{key}: expected {low} to {high}{multiple}, got {value}",
                at=Loc(where), hint="furc's instructions and compiler reach no further (docs/isa.md)",
            )  # fmt: skip


def _varied(npu: NpuConfig, where: str) -> NpuConfig:
    """Raises ConfigError DescriptiveConstant where a constant that nothing depends on is not Warboy's."""
    warboy = target("warboy")
    for key, why in DESCRIPTIVE.items():
        if getattr(npu, key) != getattr(warboy, key):
            raise ConfigError(
                "DescriptiveConstant", f"{key} is {getattr(warboy, key)} and cannot vary: {why}", at=Loc(where),
                hint="leave it out; `furc info --npu` says what each constant is",
            )  # fmt: skip
    return npu


def _build(values: _Values, where: str) -> NpuConfig:
    missing = [f.name for f in fields(NpuConfig) if f.name not in values]
    if missing:
        raise ConfigError(
            "MissingNpuConstant", f"no value for {', '.join(missing)}", at=Loc(where),
            hint='start the file with base = "warboy"',
        )  # fmt: skip
    return NpuConfig(**{key: value for key, (value, _) in values.items()})  # type: ignore[arg-type]
