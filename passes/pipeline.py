"""The story of a compile: every pass in order, read top to bottom. Steps carry the vendor's own names."""

from __future__ import annotations

from typing import NamedTuple

from isa.enf import Enf
from passes.cdfg.hoist_loads import hoist_loads
from passes.cdfg.insert_commands import insert_commands
from passes.cdfg.order_turns import order_turns
from passes.dfg.check_operators import check_operators
from passes.dfg.fold_reshapes import fold_reshapes
from passes.dfg.fold_transposes import fold_transposes
from passes.dfg.fuse_tables import fuse_tables
from passes.dfg.set_batch import set_batch
from passes.enf.link_program import link_program
from passes.gir.hoist_stores import hoist_stores
from passes.gir.place_tensors import place_tensors
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.ir.op import Level
from passes.ldfg.assign_layouts import assign_layouts
from passes.ldfg.fuse_tiles import fuse_tiles
from passes.ldfg.insert_pads import insert_pads
from passes.ldfg.split_operators import split_operators
from passes.ldfg.to_lowlevel import to_lowlevel
from passes.lir.assign_tags import assign_tags
from passes.lir.emit_instructions import emit_instructions
from passes.lir.fill_first import fill_first
from passes.lir.segment_program import segment_program
from passes.manager import IR, QUIET, Listener, Pass, run_stage, timed
from passes.options import CompileOptions

LIR = "lir"
LEVELS = (*map(str, Level), LIR)


class Stage(NamedTuple):
    """One of the vendor's steps: from a level to the next, by passes."""

    label: str
    source: str
    target: str
    passes: tuple[Pass, ...]

    def reads(self, each: Pass) -> str:
        """The level that a pass of the stage runs on: the first one changes the level."""
        return self.source if each is self.passes[0] else self.target


def _fusing(options: CompileOptions) -> bool:
    return options.fuse


def _hoisting(options: CompileOptions) -> bool:
    return options.hoist


def _overlapping(options: CompileOptions) -> bool:
    return options.hoist and not options.use_program_loading


STAGES: tuple[Stage, ...] = (
    Stage("onnx to dfg", "dfg", "dfg", (
        Pass("fold-transposes", fold_transposes),  # before set-batch: it slices groups of what the host makes
        Pass("set-batch", set_batch),  # everything after it depends on sizes
        Pass("fold-reshapes", fold_reshapes),  # after set-batch, which follows the batch through reshapes
        Pass("fuse-tables", fuse_tables),  # before the check: a fused SiLU is one table
        Pass("check-operators", check_operators, changes=False),
    )),
    Stage("dfg to ldfg", "dfg", "ldfg", (
        Pass("to-lowlevel", to_lowlevel),
        Pass("fuse-tiles", fuse_tiles, _fusing),  # before splits: what is fused is not joined in DRAM
        Pass("split-operators", split_operators),  # before layouts: so that some layout fits
        Pass("insert-pads", insert_pads),  # after splits: a tile pads its own rows
        Pass("assign-layouts", assign_layouts),
    )),
    Stage("ldfg to cdfg", "ldfg", "cdfg", (
        Pass("insert-commands", insert_commands),  # needs layouts: they decide the packing
        Pass("order-turns", order_turns),  # before addresses: they follow the order
        Pass("hoist-loads", hoist_loads, _hoisting),  # before addresses: what is loaded early needs room early
    )),
    Stage("cdfg to gir", "cdfg", "gir", (
        Pass("place-tensors", place_tensors),  # last of the graphs: every movement must be known
        Pass("hoist-stores", hoist_stores, _hoisting),  # after addresses: what is stored must not make room too early
    )),
    Stage("gir to lir", "gir", "lir", (
        Pass("emit-instructions", emit_instructions),
        Pass("fill-first", fill_first, _overlapping),  # before tags: waits follow the order
        Pass("segment-program", segment_program),  # before tags: loading the next segment takes part in them
        Pass("assign-tags", assign_tags),
    )),
)  # fmt: skip
PASSES: dict[str, Pass] = {each.name: each for stage in STAGES for each in stage.passes}


def level_of(ir: IR) -> str:
    """The level of a graph or a program."""
    return str(ir.level) if isinstance(ir, Graph) else LIR


def lower(ir: IR, options: CompileOptions, target: str = LIR, listener: Listener = QUIET) -> IR:
    """Run stages from the level of a graph down to a target level. The graph is consumed."""
    for stage in STAGES:
        begins, ends = LEVELS.index(stage.source), LEVELS.index(stage.target)
        if LEVELS.index(level_of(ir)) <= begins and ends <= LEVELS.index(target):
            ir = run_stage(stage.label, stage.passes, ir, options, listener)
    return ir


def link(program: Program, options: CompileOptions, furc_version: str, listener: Listener = QUIET) -> Enf:
    """lir to enf."""
    with timed("lir to enf", listener):
        return link_program(program, options, furc_version)
