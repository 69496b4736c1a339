"""Mixed precision: layers that stay in float, on the host, between DequantizeLinear and QuantizeLinear.

The choice is a note in the model's metadata, so that every pass and copy of the graph sees it. A layer is a node by
name, or all whose names a pattern like `/head/*` fits; the activation function behind it stays in float with it. What
is between two such layers alone is not rounded at all. Neither is what only moves data between such layers and the
model's inputs or outputs: the Slices and the Concat of a Focus before a stem would go to the host too, one by one with
int8 in between, and the input with them.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from furc.machine import DEFAULT_TARGET
from furc.onnx.graph import KEEP_FLOAT, Graph, Node
from furc.onnx.moves import is_move
from furc.onnx.work import macs
from furc.quantizer.grids.operators import CLAMPS, is_quantized
from furc.quantizer.grids.scheme import quantized_tensors
from furc.quantizer.observe.pointwise import behind
from furc.quantizer.sensitivity.noise_model import Spread, decibel
from isa.errors import NOWHERE, Loc, QuantizeError, counted
from isa.npu import NS_PER_MS, target

FLOAT_BYTES = 4
SEGMENTS = "-c max_npu_segments=auto"


class Island(NamedTuple):
    """What keeping layers in float would bring. gain_db: off the predicted noise. host_ms: what the host needs more;
    less than 0 where it need not quantize the model's input any more. between: see `is_between`. at_input: whether they
    read an input of the model, which then stays in float."""

    layers: tuple[str, ...]
    gain_db: float
    host_ms: float
    between: bool
    at_input: bool

    def __str__(self) -> str:
        options = f"--keep-float {','.join(self.layers)}" + (f" and furc compile {SEGMENTS}" if self.between else "")
        return f"{options}: +{self.gain_db:.1f} dB predicted, about {self.host_ms:+.1f} ms on the host"


def check_inputs(graph: Graph, dtype: str) -> None:
    """Raises QuantizeError[NotQuantized] where inputs are to be of integers and something else takes them in float:
    layers that stay in float, bodies of If, Loop and Scan, or the model's caller as an output."""
    if dtype == "float32":
        return
    stored = set(quantized_tensors(graph))
    for name in graph.inputs:
        for node in graph.readers(name):
            if graph.stays_float(node):
                what, hint = f"'{node.name}', which stays in float, reads it", "quantize that layer"
                raise _not_of_integers(name, dtype, what, hint, node.loc)
            if name in stored and name not in node.inputs:
                what = f"a body of {node.op} '{node.name}' reads it in float"
                raise _not_of_integers(name, dtype, what, "take it out of that body", node.loc)
        if name in stored and name in graph.outputs:
            raise _not_of_integers(name, dtype, "it is an output too", "remove that output", NOWHERE)


def _not_of_integers(name: str, dtype: str, why: str, hint: str, at: Loc) -> QuantizeError:
    what = f"input '{name}' cannot be {dtype}: {why}"
    return QuantizeError("NotQuantized", what, at=at, hint=f"{hint}, or leave the inputs in float32")


def in_words(graph: Graph) -> list[str]:
    """What stays in float, and what a compile needs to know of it; a line, or none."""
    kept = [node for node in graph.nodes if graph.stays_float(node)]
    if not kept:
        return []
    line = f"{counted(len(kept), 'operator')} in float on the host"
    if is_between(graph, {id(node) for node in kept}):
        line += f", in the middle of the model: without {SEGMENTS} furc compile leaves all before or behind to the host"
    return [line]


def is_between(graph: Graph, inside: Collection[int]) -> bool:
    """Whether these nodes have the NPU before them and behind them, which makes two parts of it."""
    behind_npu, behind_island = set[str](), set[str]()
    for node in graph.nodes:
        from_npu, from_island = (not names.isdisjoint(node.inputs) for names in (behind_npu, behind_island))
        quantized = id(node) not in inside and is_quantized(graph, node)
        if quantized and from_island:
            return True
        if quantized or from_npu:
            behind_npu.update(node.outputs)
        if from_island or (from_npu and id(node) in inside):
            behind_island.update(node.outputs)
    return False


def keep_float(graph: Graph, layers: Sequence[str]) -> list[Node]:
    """Note that these layers stay in float. The nodes they are. Raises QuantizeError[UnknownLayer, NothingToQuantize]
    where no such layer is there, or no other."""
    named = {node.name or node.output: node for node in graph.nodes}
    chosen = dict[int, Node]()
    for layer in layers:
        fitting = [node for name, node in named.items() if name == layer or fnmatch.fnmatchcase(name, layer)]
        if not fitting:
            near = difflib.get_close_matches(layer, named, n=1, cutoff=0.5)
            raise QuantizeError(
                "UnknownLayer", f"the model has no layer '{layer}'",
                hint=f"did you mean '{near[0]}'?" if near else "layers are names of nodes, or patterns of them",
            )  # fmt: skip
        chosen |= {id(node): node for node in fitting}
    kept = _kept_with(graph, chosen.values())
    for node in kept:
        node.name = node.name or node.output
    if kept:
        were_some = any(is_quantized(graph, node) for node in graph.nodes)
        graph.set_metadata(KEEP_FLOAT, "\n".join(node.name for node in kept))
        if were_some and not any(is_quantized(graph, node) for node in graph.nodes):
            raise QuantizeError(
                "NothingToQuantize", f"keep_float leaves no layer to quantize: {', '.join(layers)}",
                hint="name fewer layers, or run the float model on the host as it is",
            )  # fmt: skip
    return kept


def island(
    graph: Graph, layers: Collection[Node], spreads: Mapping[str, Spread], names: Collection[str] = ()
) -> Island:
    """The prediction: tensors that only these layers make and read bring no noise. names: what users call the layers,
    where these are parts of those."""
    inside = {id(kept) for kept in _kept_with(graph, layers)}
    total = sum(spread.noise() for spread in spreads.values())
    gone = sum(spread.noise() for name, spread in spreads.items() if _stays_within(graph, name, inside))
    names = tuple(names or (node.name or node.output for node in layers))
    gain, cost = decibel(total / max(total - gone, 1e-30)), _host_ns(graph, inside) / NS_PER_MS
    at_input = any(id(reader) in inside for name in graph.inputs for reader in graph.readers(name))
    return Island(names, gain, cost, is_between(graph, inside), at_input)


def _stays_within(graph: Graph, name: str, inside: Collection[int]) -> bool:
    """Whether these nodes alone see a tensor: it is a result of theirs, or an input of the model."""
    maker = graph.producer(name)
    if name in graph.outputs or (id(maker) not in inside if maker is not None else name not in graph.inputs):
        return False
    return all(id(reader) in inside for reader in graph.readers(name))


def _kept_with(graph: Graph, layers: Iterable[Node]) -> list[Node]:
    """The layers, the functions behind them, and what only moves data between them and the model's ends, in order."""
    inside = {id(kept) for node in layers for kept in _with_function(graph, node)}
    fed, shown = inside | _fed(graph, inside), inside | _shown(graph, inside)
    moving = {id(node): node for node in graph.nodes if id(node) in (fed & shown) - inside}
    while near := [key for key, node in moving.items() if _touches(graph, node, inside)]:
        inside.update(near)
        for key in near:
            del moving[key]
    return [node for node in graph.nodes if id(node) in inside]


def _fed(graph: Graph, inside: Collection[int]) -> set[int]:
    """What only moves data that comes from the model's inputs or from these nodes."""
    found, free = set[int](), {*graph.inputs, *graph.constants, ""}
    free.update(name for node in graph.nodes if id(node) in inside for name in node.outputs)
    for node in graph.nodes:
        if _moves(graph, node) and free.issuperset(node.inputs):
            found.add(id(node))
            free.update(node.outputs)
    return found


def _shown(graph: Graph, inside: Collection[int]) -> set[int]:
    """What only moves data that goes to the model's outputs or to these nodes."""
    found = set[int]()
    for node in reversed(graph.nodes):
        ends = all(
            all(id(reader) in found or id(reader) in inside for reader in graph.readers(name))
            and (name in graph.outputs or graph.readers(name))
            for name in node.outputs
            if name
        )
        if ends and _moves(graph, node):
            found.add(id(node))
    return found


def _moves(graph: Graph, node: Node) -> bool:
    return graph.is_float(node.output) and (node.op == "Concat" or is_move(graph, node))


def _touches(graph: Graph, node: Node, inside: Collection[int]) -> bool:
    makers = [maker for name in node.inputs if (maker := graph.producer(name)) is not None]
    readers = [reader for name in node.outputs for reader in graph.readers(name)]
    return any(id(other) in inside for other in (*makers, *readers))


def _with_function(graph: Graph, node: Node) -> list[Node]:
    function = behind(graph, node.output)
    return [node, *function.nodes] if function is not None else [node]


def _host_ns(graph: Graph, inside: Collection[int]) -> float:
    """What the host does more, at the constants that `furc profile` goes by (docs/timing.md): the layers themselves,
    and floats and int8 made of each other where the NPU begins and ends."""
    npu, work, total = target(DEFAULT_TARGET), macs(graph), 0.0
    to_npu, to_host = (
        npu.host_copy_ns_per_element + each
        for each in (npu.host_quantize_ns_per_element, npu.host_dequantize_ns_per_element)
    )
    by_npu = _clamped_by_npu(graph, inside)
    for node in graph.nodes:
        if id(node) not in inside:
            continue
        total += to_npu * sum(
            _elements(graph, name)
            for name in node.outputs
            if any(id(reader) not in inside for reader in graph.readers(name))
        )
        if id(node) in by_npu:
            continue
        constants = {name: graph.constants[name].nbytes for name in node.inputs if name in graph.constants}
        moving = [name for name in dict.fromkeys((*node.inputs, *node.outputs)) if name and name not in constants]
        touched = sum(constants.values()) + FLOAT_BYTES * sum(_elements(graph, name) for name in moving)
        total += npu.host_copy_ns_per_element * touched + npu.host_ns_per_mac * work[id(node)]
        total -= to_host * sum(_elements(graph, name) for name in node.outputs if name in graph.outputs)
    read = dict.fromkeys(name for node in graph.nodes if id(node) in inside for name in node.inputs)
    for name in read:
        maker = graph.producer(name)
        if maker is not None and id(maker) not in inside:
            total += to_host * _elements(graph, name)
        elif name in graph.inputs and _stays_within(graph, name, inside):
            total -= to_npu * _elements(graph, name)
    return total


def _clamped_by_npu(graph: Graph, inside: Collection[int]) -> set[int]:
    """The clamps that end an island: a compile has the NPU clamp what is quantized in front of them."""
    return {
        id(node)
        for node in graph.nodes
        if id(node) in inside
        and node.op in CLAMPS
        and node.output not in graph.outputs
        and all(id(reader) not in inside for reader in graph.readers(node.output))
    }


def _elements(graph: Graph, name: str) -> int:
    return math.prod(graph.shape(name) or (0,))
