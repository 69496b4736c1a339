"""Facts: what is in a binary, which machines there are, and every constant of one with its source."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from furc.machine import DEFAULT_TARGET
from furc.operators import operator_rows
from furc.version import __version__
from isa import enf as enf_file
from isa import npu as npus
from passes.dfg.legality import OperatorSet


def binary_facts(path: Path | str) -> dict[str, object]:
    """What is in a binary. Raises EnfError."""
    enf = enf_file.load(Path(path))
    return {
        "model": enf.model_name,
        "compiled_by": f"furc {enf.furc_version}",
        "target": enf_file.made_for(enf),
        "configuration": enf.fingerprint,
        "batch": enf.batch,
        "inputs": [f"{t.name} {t.dtype}{list(t.shape)}" for t in enf.inputs],
        **({"pixels": enf.pixels} if enf.pixels else {}),
        "outputs": [f"{t.name} {t.dtype}{list(t.shape)}" for t in enf.outputs],
        "operators": len(enf.operators),
        "steps": ["host" if isinstance(step, enf_file.HostStep) else "npu" for step in enf.steps],
        "instructions": sum(len(step.operator_of) for step in enf.npu_steps),
        "instruction_bytes": sum(segment.bytes for segment in enf.segments),
        "program_segments": len(enf.segments),
        "image_bytes": len(enf.image),
        "dram_bytes": enf.dram_bytes,
        "sram_peak_bytes": enf.sram_peak_bytes,
        "host_operators": [f"{o.name} {o.tensor}" for step in enf.host_steps for o in step.operators],
    }


def machines() -> dict[str, str]:
    """furc's version, and each target in a line."""
    found = {"furc": __version__}
    for name in npus.TARGETS:
        npu = npus.target(name)
        found[name] = (
            f"{npu.num_pes} PE, {npu.num_slices} slices, {npu.macs_per_cycle} MACs a cycle at {npu.clock_hz / 1e9:g} "
            f"GHz, {npu.sram_bytes >> 20} MiB SRAM, {npu.dram_bytes_per_second / 1e9:g} GB/s, "
            f"configuration {npu.fingerprint()}"
        )
    return found


def operators_of(operator_set: str = OperatorSet.SEED28) -> dict[str, list[object]]:
    """Every operator of a set, and those rewritten into them: what it becomes, conditions, what to do, source."""
    return operator_rows(operator_set)


def constants_of(target_npu: str = DEFAULT_TARGET) -> dict[str, list[object]]:
    """Every constant of a target: its value, and where that comes from. Raises ConfigError."""
    sources = npus.sources(target_npu)
    sources |= {key: f"{sources[key]}; cannot vary: {why}" for key, why in npus.DESCRIPTIVE.items()}
    return {key: [value, sources.get(key, "")] for key, value in asdict(npus.target(target_npu)).items()}
