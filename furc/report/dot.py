"""A graph for Graphviz: a box an op with its layout, an edge a tensor with its shape."""

from __future__ import annotations

from passes.ir.graph import Graph
from passes.ir.op import Op, Runs, Value, name_at
from passes.ir.types import InDram, InSram, Striped

HOST_COLOR, NPU_COLOR, EDGE_COLOR = "#f3e3c3", "#dbe9f6", "#e8ecf0"


def dot(graph: Graph) -> str:
    """The text of a digraph. Constants are left out: weights would hide the rest."""
    lines = [f"digraph {_quoted(graph.name)} {{", "  rankdir=TB;"]
    lines.append('  node [shape=box, style="filled,rounded", fontname="sans-serif", fontsize=10];')
    lines.append('  edge [fontname="sans-serif", fontsize=9];')
    ends = {value: f"in{i}" for i, value in enumerate(graph.inputs)}
    lines += [_node(ends[v], [v.name, _type(v)], EDGE_COLOR, "oval") for v in graph.inputs]
    for index, op in enumerate(graph.ops):
        ends |= dict.fromkeys(op.results, f"op{index}")
        color = HOST_COLOR if op.runs is Runs.HOST else NPU_COLOR
        lines.append(_node(f"op{index}", _words(op, graph), color, "box"))
    for index, op in enumerate(graph.ops):
        read = dict.fromkeys(v for v in op.operands() if v in ends)
        lines += [f"  {ends[v]} -> op{index} [label={_quoted(_type(v))}];" for v in read]
    for index, value in enumerate(graph.outputs):
        lines.append(_node(f"out{index}", [value.name, _type(value)], EDGE_COLOR, "oval"))
        if value in ends:
            lines.append(f"  {ends[value]} -> out{index};")
    return "\n".join([*lines, "}"]) + "\n"


def _words(op: Op, graph: Graph) -> list[str]:
    """Kind, layout of the result, ONNX nodes."""
    kind = getattr(op, "kind", "")
    words = [f"{name_at(type(op), graph.level)} {kind}".strip()]
    place = op.results[0].type.place
    if isinstance(place, InSram):
        words.append(str(place.layout))
    elif isinstance(place, InDram):
        words.append(f"DRAM {place.order.name}")
    elif isinstance(place, Striped):
        words.append("striped")
    return [*words, *op.loc.nodes[:3], *(["..."] if len(op.loc.nodes) > 3 else [])]


def _type(value: Value) -> str:
    return f"{value.type.dtype} {'x'.join(map(str, value.type.shape))}"


def _node(name: str, lines: list[str], color: str, form: str) -> str:
    return f'  {name} [label={_quoted(*lines)}, shape={form}, fillcolor="{color}"];'


def _quoted(*lines: str) -> str:
    """A Graphviz string; lines are centred."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for line in lines)
    return '"' + "\\n".join(escaped) + '"'
