"""A part of a TFLite model as a model of its own, written with the object classes of the schema that LiteRT ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import tflite

from furc.tflite.mark import IDENTIFIER, is_tflite
from isa.errors import ConfigError

MARK = "furc: the smallest part that shows it"
CARRIED = ("FLOAT32", "INT8", "UINT8")  # elements of inputs that LiteRT and furc are fed


class Part(NamedTuple):
    """data: the model. inputs: its inputs by name, each with the number of the tensor in the model it is of."""

    data: bytes
    inputs: dict[str, int]
    operators: int


def part_above(data: bytes, target: int, depth: int) -> Part:
    """The operators that make a tensor, up to `depth` of them one behind the other; what they read are inputs.

    Raises ConfigError NoLitert where the classes are not installed.
    """
    try:
        import flatbuffers  # development dependencies, as LiteRT itself
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise ConfigError("NoLitert", "LiteRT is not installed", hint="pip install ai-edge-litert") from error
    model = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    graph = model.subgraphs[0]
    kept, edge = _above(graph, schema, target, depth)
    graph.operators = [operator for index, operator in enumerate(graph.operators) if index in kept]
    named = {_text(graph.tensors[number].name): number for number in edge}
    graph.inputs, graph.outputs = edge, [target]
    _renumber(model, graph)
    model.subgraphs, model.description, model.metadata, model.signatureDefs = [graph], MARK, None, None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return Part(bytes(builder.Output()), named, len(graph.operators))


def _above(graph: Any, schema: Any, target: int, depth: int) -> tuple[set[int], list[int]]:
    """Operators by index, and the tensors that nobody among them makes and no constant is."""
    makers = {int(made): index for index, operator in enumerate(graph.operators) for made in operator.outputs}
    carried = {getattr(schema.TensorType, name) for name in CARRIED}
    kept, edge, waiting = set[int](), list[int](), [(target, depth)]
    deepest: dict[int, int] = {}
    while waiting:
        number, left = waiting.pop()
        if number < 0 or deepest.get(number, -1) >= left:
            continue
        deepest[number] = left
        maker = makers.get(number)
        if maker is not None and (left > 0 or graph.tensors[number].type not in carried):
            kept.add(maker)
            waiting += [(int(read), left - 1) for read in graph.operators[maker].inputs]
    made = {int(number) for index in kept for number in graph.operators[index].outputs}
    given = {int(number) for number in graph.inputs}
    for index in sorted(kept):
        for number in map(int, graph.operators[index].inputs):
            if number >= 0 and number not in made and number not in edge and (number in makers or number in given):
                edge.append(number)
    return kept, edge


def _renumber(model: Any, graph: Any) -> None:
    """Leave out tensors and buffers that nothing speaks of."""
    lists = [graph.inputs, graph.outputs, *(side for o in graph.operators for side in (o.inputs, o.outputs))]
    used = sorted({int(number) for numbers in lists for number in numbers if number >= 0})
    new = {number: index for index, number in enumerate(used)} | {-1: -1}
    graph.tensors = [graph.tensors[number] for number in used]
    graph.inputs, graph.outputs = ([new[int(n)] for n in numbers] for numbers in (graph.inputs, graph.outputs))
    for operator in graph.operators:
        operator.inputs, operator.outputs = ([new[int(n)] for n in s] for s in (operator.inputs, operator.outputs))
        operator.intermediates = None
    buffers = [0, *sorted({tensor.buffer for tensor in graph.tensors} - {0})]  # the first one is empty
    for tensor in graph.tensors:
        tensor.buffer = buffers.index(tensor.buffer)
    model.buffers = [model.buffers[number] for number in buffers]


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def is_part(path: Path) -> bool:
    """A file that was written here."""
    data = path.read_bytes()
    return is_tflite(data) and bool(tflite.Model.GetRootAs(data, 0).Description() == MARK.encode())
