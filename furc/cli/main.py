"""The furc command. Command modules import what is heavy inside their functions: help must not wait for onnxruntime."""

from __future__ import annotations

import click

from furc.cli import (
    asm,
    bench,
    cache,
    calibrate_report,
    compare,
    compile,
    disasm,
    info,
    litmus,
    opt,
    profile,
    quantize,
    registries,
    run,
    zoo,
)
from furc.cli.command import SETTINGS, Group, debug_option
from furc.version import __version__

SHOWN = (
    quantize.command,
    calibrate_report.command,
    compile.command,
    run.command,
    profile.command,
    compare.command,
    bench.command,
    litmus.command,
    info.command,
    zoo.command,
    cache.command,
    opt.command,
    asm.command,
    disasm.command,
    registries.passes,
    registries.ops,
    registries.isa,
)


class InOrder(Group):
    """Commands in the order of a user's work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, context_settings=SETTINGS)
@click.version_option(__version__, "--version", "-V", prog_name="furc", message="%(prog)s %(version)s")
def cli() -> None:
    """Compile, quantize, run and profile networks for FuriosaAI's Warboy NPU, on a cycle-approximate model of it.

    \b
      furc quantize model.onnx -o int8.onnx --calibration-data images/
      furc compile int8.onnx -o model.enf
      furc profile model.enf
      furc run model.enf --input images=cat.jpg

    Exit codes: 0 done, 1 the input is at fault, 2 wrong usage, 70 furc is at fault.
    """


cli.params.append(debug_option())
for _command in SHOWN:
    cli.add_command(_command)


def main() -> None:
    """The console script."""
    cli(prog_name="furc")
