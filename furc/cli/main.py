"""The furc command. Nothing heavy is imported here: `furc --help` must not wait for NumPy, onnx and ONNX Runtime."""

from __future__ import annotations

import gc
import os
import sys

import click

from furc.cli.command import (
    EXIT_USER,
    SETTINGS,
    Entry,
    LazyGroup,
    debug_option,
    is_full_stdout,
    say_full_stdout,
)
from furc.garbage import collect_seldom

# For how many cycles, as a power of two, threads of NumPy's OpenBLAS wait busily for work; its own 26 are a tenth of a
# second at every start. Read when NumPy is imported.
BLAS_WAITS = {"OPENBLAS_THREAD_TIMEOUT": "4"}

# In the order of a user's work. A command's module is imported when it is used; the texts are those of its own help.
COMMANDS = {
    "check": Entry("furc.cli.commands.check", "Where every operator of a model will run, why, and what to change."),
    "advise": Entry("furc.cli.commands.advise", "What to change in a model, each change compiled and measured."),
    "quantize": Entry("furc.cli.commands.quantize", "Quantize a float model to INT8."),
    "calibrate-report": Entry("furc.cli.commands.calibrate_report", "Compare calibration methods on a model."),
    "compile": Entry("furc.cli.commands.compile", "Compile a quantized model to a binary, or to any level of IR."),
    "run": Entry("furc.cli.commands.run", "Run a binary on data and print what it costs."),
    "profile": Entry("furc.cli.commands.profile", "Time a binary or a model: table, JSON, HTML or trace."),
    "diff": Entry("furc.cli.commands.diff", "Compare two binaries, models or profiles, layer by layer."),
    "verify": Entry("furc.cli.commands.verify", "Compare the NPU with ONNX Runtime or LiteRT, layer by layer."),
    "eval": Entry("furc.cli.commands.eval", "Accuracy on labelled images: INT8 on the NPU beside float models."),
    "explain": Entry("furc.cli.commands.explain", "From a node to instructions, memory and cycles, and back."),
    "compare": Entry("furc.cli.commands.compare", "The old name of verify."),
    "bench": Entry("furc.cli.commands.bench", "Latency and throughput of the device, speed of the simulator."),
    "sweep": Entry("furc.cli.commands.sweep", "Time models on many machines, batches and configurations."),
    "litmus": Entry("furc.cli.commands.litmus", "Check that a float model makes it all the way."),
    "info": Entry("furc.cli.commands.info", "What is in a binary; the machines and their constants."),
    "zoo": Entry("furc.cli.commands.zoo", "List or write published networks with seeded weights."),
    "cache": Entry("furc.cli.commands.cache", "Show or clear the compiler cache."),
    "opt": Entry("furc.cli.commands.opt", "Run named passes on IR text."),
    "asm": Entry("furc.cli.commands.asm", "Assemble text to encoded instructions."),
    "disasm": Entry("furc.cli.commands.disasm", "Print the instructions of a binary, annotated."),
    "passes": Entry("furc.cli.commands.passes", "The passes, and what each does."),
    "ops": Entry("furc.cli.commands.ops", "The ops of the IR, level by level."),
    "isa": Entry("furc.cli.commands.isa", "The instructions of the machine."),
}


@click.group(cls=LazyGroup, entries=COMMANDS, context_settings=SETTINGS)
@click.version_option(None, "--version", "-V", package_name="furc", prog_name="furc", message="%(prog)s %(version)s")
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


def main() -> None:
    """The console script."""
    open_streams()
    collect_seldom()
    os.environ |= {**BLAS_WAITS, **os.environ}  # what the user says stays
    try:
        cli(prog_name="furc")
    except OSError as error:  # of --help and --version: errors of commands end in the group
        if not is_full_stdout(error):
            raise
        say_full_stdout(error)
        sys.exit(EXIT_USER)
    finally:
        gc.freeze()  # the process ends: nobody looks for cycles in what it gives back as a whole


def open_streams() -> None:
    """Nothing in place of standard streams that are closed: else the next file that is opened would be one of them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  open as long as the process
