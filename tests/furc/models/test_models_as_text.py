"""Every IR level of real architectures prints to text that parses back to the same graph."""

from __future__ import annotations

import pytest
from zoo_models import SIZES, quantized

from furc.frontend import load_onnx
from isa.npu import target
from passes import pipeline
from passes.ir.graph import Level
from passes.ir.lir_text import parse_program_text, show_program
from passes.ir.text import parse, show
from passes.options import CompileOptions
from passes.pipeline import Listener

OPTIONS = CompileOptions(npu=target("warboy"))


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("name", SIZES)
def test_graphs_round_trip(name: str, level: Level) -> None:
    graph = pipeline.lower(load_onnx(quantized(name)), OPTIONS, level, Listener())
    text = show(graph)
    again = parse(text, {value.name: array for value, array in graph.constants.items()})
    assert show(again) == text
    assert [value.name for value in again.constants] == [value.name for value in graph.constants]


@pytest.mark.parametrize("name", SIZES)
def test_programs_round_trip(name: str) -> None:
    graph = pipeline.lower(load_onnx(quantized(name)), OPTIONS, Level.GIR, Listener())
    program = pipeline.assemble(graph, OPTIONS, Listener())
    text = show_program(program)
    again = parse_program_text(text, {value.name: array for value, array in graph.constants.items()})
    assert again.steps == program.steps and show_program(again) == text
