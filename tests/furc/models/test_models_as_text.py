"""Every IR level of real architectures prints to text that parses back to the same graph."""

from __future__ import annotations

import pytest
from zoo_models import SIZES, quantized

from furc.frontend import load_onnx
from isa.npu import target
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.ir.lir_text import parse_program_text, show_program
from passes.ir.op import Level
from passes.ir.text import parse, show
from passes.options import CompileOptions
from passes.pipeline import lower

pytestmark = pytest.mark.fills_memory
OPTIONS = CompileOptions(npu=target("warboy"))


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("name", SIZES)
def test_graphs_round_trip(name: str, level: Level) -> None:
    graph = lower(load_onnx(quantized(name)), OPTIONS, level)
    assert isinstance(graph, Graph)
    text = show(graph)
    again = parse(text, {value.name: array for value, array in graph.constants.items()})
    assert show(again) == text
    assert [value.name for value in again.constants] == [value.name for value in graph.constants]


@pytest.mark.parametrize("name", SIZES)
def test_programs_round_trip(name: str) -> None:
    program = lower(load_onnx(quantized(name)), OPTIONS)
    assert isinstance(program, Program)
    text = show_program(program)
    again = parse_program_text(text, {value.name: array for value, array in program.graph.constants.items()})
    assert list(again.steps()) == list(program.steps()) and show_program(again) == text
