"""furc info: what is in a binary, and every constant of the modelled machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE, TARGETS
from furc.version import __version__


@declare("info", short_help="What is in a binary; the machines and their constants.")
@click.argument("enf", type=FILE, required=False)
@click.option("--npu", "show_npu", is_flag=True, help="List the constants of a machine and where each comes from.")
@click.option("--target-npu", type=click.Choice(TARGETS), default="warboy-2pe", help="The machine of --npu.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", help="How to print.")
def command(enf: Path | None, show_npu: bool, target_npu: str, form: str) -> None:
    """Show what is in ENF, a compiled binary; without one, furc's version and the machines it knows."""
    if enf is not None and show_npu:
        raise click.UsageError("--npu is about machines: leave out the ENF")
    facts = _binary(enf) if enf is not None else _constants(target_npu) if show_npu else _targets()
    if form == "json":
        click.echo(json.dumps(facts, indent=1))
        return
    from furc.cli.display import show
    from furc.report.tables import Column, Table

    columns = (Column(""), *(Column(word, long=True) for word in ("value", *(["source"] if show_npu else []))))
    rows = tuple((name, *(_cell(v) for v in (value if show_npu and isinstance(value, list) else [value])))
                 for name, value in facts.items())  # fmt: skip
    show(Table(columns=columns, rows=rows))


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}".replace(",", " ") if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _targets() -> dict[str, object]:
    from isa import npu as npus

    found: dict[str, object] = {"furc": __version__}
    for name in npus.TARGETS:
        npu = npus.target(name)
        found[name] = (
            f"{npu.num_pes} PE, {npu.num_slices} slices, {npu.macs_per_cycle} MACs a cycle at {npu.clock_hz / 1e9:g} "
            f"GHz, {npu.sram_bytes >> 20} MiB SRAM, {npu.dram_bytes_per_second / 1e9:g} GB/s, "
            f"configuration {npu.fingerprint()}"
        )
    return found


def _constants(target_npu: str) -> dict[str, object]:
    from isa import npu as npus

    sources = npus.sources(target_npu)
    return {key: [value, sources.get(key, "")] for key, value in asdict(npus.target(target_npu)).items()}


def _binary(path: Path) -> dict[str, object]:
    from isa import enf as enf_file

    enf = enf_file.load(path)
    return {
        "model": enf.model_name,
        "compiled_by": f"furc {enf.furc_version}",
        "target": enf.target,
        "configuration": enf.fingerprint,
        "batch": enf.batch,
        "inputs": [f"{t.name} {t.dtype}{list(t.shape)}" for t in enf.inputs],
        "outputs": [f"{t.name} {t.dtype}{list(t.shape)}" for t in enf.outputs],
        "operators": len(enf.operators),
        "instructions": len(enf.operator_of),
        "instruction_bytes": sum(segment.bytes for segment in enf.segments),
        "program_segments": len(enf.segments),
        "image_bytes": len(enf.image),
        "dram_bytes": enf.dram_bytes,
        "sram_peak_bytes": enf.sram_peak_bytes,
        "host_operators": [*enf.head.operators, *enf.tail.operators],
    }
