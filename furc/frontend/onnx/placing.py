"""The question of placement, asked of an ONNX model: its nodes as units with their times, its tensors with what they
cost to carry over.

Times are estimates: those of the host are what profiles say, those of the NPU follow from multiplications and bytes.
QuantizeLinear and DequantizeLinear are no units: they are where tensors cross, and go to the host where only hosts are
around them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from furc.frontend.entries import Entry, Joined, OnHost, Pending, Unary
from furc.frontend.onnx.hosted import Cause, reads_of
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import DEQUANTIZE, QUANTIZE
from furc.frontend.placement import Carried, Problem, Unit, place_each
from isa.enf import OPEN
from isa.errors import LowerError, counted
from isa.npu import NS_PER_MS, NpuConfig
from isa.timing.formulas import CONV_COMMANDS
from passes.analysis.host_share import macs_of
from passes.ir.graph import Graph, Placement
from passes.ir.types import DType, Quant

UTILIZATION = 0.25  # of the peak that networks reach; published ones: 0.06 to 0.22 of 64 TOPS and more alone
SEGMENT_NS = 10_000.0  # assumed: starting a program, and waiting for its end
FLOAT_BYTES = 4
PLACED = "it is cheapest"  # in the reasons of operators that the NPU could take
EVERYTHING = "-c max_npu_segments=all for all that the NPU takes"
NS = 1e9
Shape = tuple[int, ...]


AUTO, ALL, NOTHING = "auto", "all", "nothing"


class Placing(NamedTuple):
    """segments: of the NPU, at most; AUTO for any number; ALL for every operator that the NPU takes, at any cost."""

    npu: NpuConfig
    segments: int | str = 1


class Walked(Protocol):
    """What a walk over a model found out (furc/frontend/onnx/importer.py)."""

    nodes: list[Node]
    env: dict[str, Entry]
    hosts: dict[int, Cause]
    folded: set[int]
    float_outputs: set[str]
    graph: Graph
    all_quantized: bool

    def readers_of(self, tensor: str) -> list[Node]: ...

    def quantization_after(self, tensor: str) -> Quant | None: ...


def estimates(walk: Walked, placing: Placing) -> dict[int, Unit]:
    """What each node takes on either side, alone."""
    question = _Question(walk, placing)
    return {node.index: question.unit([node]) for node in question.computing}


class Decision(NamedTuple):
    """hosts: the nodes of the host, those that the NPU could take among them, each with its reason. placements: the one
    that was chosen, and what else was considered."""

    hosts: dict[int, Cause]
    placements: tuple[Placement, ...]


def decide(walk: Walked, placing: Placing) -> Decision:
    """Where each node runs."""
    return _Question(walk, placing).answer()


def _ways(problem: Problem, asked: int | str) -> dict[int | str, tuple[bool, ...]]:
    """Placements, by what asks for each: the vendor's rule of one part, any number, all that the NPU takes, nothing;
    and what the user asked for."""
    legal = tuple(math.isfinite(unit.npu_ns) for unit in problem.units)
    counts = sorted({1, *([asked] if isinstance(asked, int) else [])})
    *ways, auto = place_each(problem, [*counts, None])
    placed: dict[int | str, tuple[bool, ...]] = dict(zip(counts, ways, strict=True))
    return placed | {AUTO: auto, ALL: legal, NOTHING: tuple(False for _ in legal)}


def _words(key: int | str) -> str:
    known = {1: "one part on the NPU, the host before and behind it", AUTO: "as many parts on the NPU as pay",
             ALL: "all that the NPU takes", NOTHING: "all on the host"}  # fmt: skip
    return known.get(key, f"at most {key} parts on the NPU")


class _Question:
    def __init__(self, walk: Walked, placing: Placing) -> None:
        self.walk, self.placing = walk, placing
        self.crossings = {
            n.index for n in walk.nodes if n.op in (QUANTIZE, DEQUANTIZE) and n.index not in walk.hosts
        } - walk.folded
        self.inputs = {value.name: value.type for value in walk.graph.inputs}
        self.computing = [n for n in walk.nodes if n.index not in self.crossings and n.index not in walk.folded]
        made = [(name, node) for node in walk.nodes if node.index not in walk.folded for name in node.outputs]
        self.maker = {name: node for name, node in made if name}

    def answer(self) -> Decision:
        units = self._units()
        number = {node.index: i for i, together in enumerate(units) for node in together}
        problem = Problem(
            tuple(self.unit(together) for together in units), tuple(self._tensors(number)), SEGMENT_NS, None
        )
        ways = _ways(problem, self.placing.segments)
        on_npu = ways[self.placing.segments]
        placements = tuple(self._placement(problem, units, key, way) for key, way in ways.items())
        if self.placing.segments == ALL:
            return Decision(dict(self.walk.hosts), placements)
        hosts = dict(self.walk.hosts)
        for node in self.computing:
            if not on_npu[number[node.index]]:
                hosts.setdefault(node.index, self._moved())
        return Decision(hosts | self._absorbed(hosts), placements)

    def _placement(
        self, problem: Problem, units: list[list[Node]], key: int | str, on_npu: tuple[bool, ...]
    ) -> Placement:
        return Placement(
            way=_words(key),
            key=f"-c max_npu_segments={key}" if key != NOTHING else "",
            npu_parts=problem.segments(on_npu),
            on_host=sum(len(nodes) for nodes, npu in zip(units, on_npu, strict=True) if not npu),
            ms=problem.cost(on_npu) / NS_PER_MS,
            chosen=key == self.placing.segments,
        )

    def _moved(self) -> Cause:
        segments = self.placing.segments
        if isinstance(segments, str):
            return Cause(
                f"any number of parts may run on the NPU, and {PLACED} with this operator on the host", EVERYTHING
            )
        parts = counted(segments, "part")
        reason = f"{parts} of the model may run on the NPU, and {PLACED} with this operator before or behind"
        return Cause(reason, f"{EVERYTHING}, or auto for as many parts as pay")

    # units

    def _units(self) -> list[list[Node]]:
        """Nodes with float tensors between them, which nothing quantizes, go together. In execution order."""
        import networkx as nx  # here: models that the NPU takes whole do not wait for it

        together: nx.Graph[int] = nx.Graph()
        together.add_nodes_from(node.index for node in self.computing)
        for node in self.computing:
            for name in reads_of(node):
                maker = self.maker.get(name)
                floating = isinstance(self.walk.env.get(name), Pending | Unary | Joined)
                alike = maker is not None and (maker.index in self.walk.hosts) == (node.index in self.walk.hosts)
                if maker is not None and floating and alike and maker.index not in self.crossings:
                    together.add_edge(maker.index, node.index)
        position = {node.index: i for i, node in enumerate(self.computing)}
        groups = [sorted(position[index] for index in group) for group in nx.connected_components(together)]
        return [[self.computing[i] for i in group] for group in self._ordered(groups)]

    def _ordered(self, groups: list[list[int]]) -> list[list[int]]:
        """By dependencies between groups."""
        import networkx as nx  # here: see above

        of = {self.computing[i].index: g for g, group in enumerate(groups) for i in group}
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(range(len(groups)))
        for node in self.computing:
            for name in reads_of(node):
                maker = self._origin(name)[0]
                if maker is not None and of[maker.index] != of[node.index]:
                    graph.add_edge(of[maker.index], of[node.index])
        if not nx.is_directed_acyclic_graph(graph):  # a group around another one: they are one
            merged = [sorted(i for g in part for i in groups[g]) for part in nx.strongly_connected_components(graph)]
            return self._ordered(merged)
        return [groups[g] for g in nx.lexicographical_topological_sort(graph, key=lambda g: groups[g][0])]

    def unit(self, nodes: list[Node]) -> Unit:
        npu = self.placing.npu
        host_ns = npu_ns = 0.0
        for node in nodes:
            shapes = [self._shape(name) for name in node.inputs]
            made = self._shape(node.outputs[0])
            elements = sum(map(math.prod, shapes)) + math.prod(made)
            macs = macs_of(node.proto, shapes, made)
            host_ns += self._quantizing_ns(node)
            host_ns += npu.host_copy_ns_per_element * FLOAT_BYTES * elements + npu.host_ns_per_mac * macs
            cycles = macs / (npu.macs_per_cycle * UTILIZATION) + elements / (npu.te_io_bytes_per_cycle * npu.num_slices)
            npu_ns += (cycles + CONV_COMMANDS * npu.command_setup_cycles) / npu.clock_hz * NS
        on_host = any(node.index in self.walk.hosts for node in nodes)
        return Unit(host_ns, math.inf if on_host else npu_ns)

    def _shape(self, name: str) -> Shape:
        """Open extents count as one."""
        entry = self.walk.env.get(name)
        return () if entry is None else tuple(1 if extent == OPEN else extent for extent in entry.shape)

    # tensors

    def _tensors(self, number: Mapping[int, int]) -> list[Carried]:
        found: dict[tuple[str, bool], tuple[int | None, set[int], bool]] = {}
        for node in self.computing:
            for name in reads_of(node):
                maker, tensor, quantized = self._origin(name)
                if tensor is None:
                    continue
                made_by = None if maker is None else number[maker.index]
                if made_by != number[node.index]:
                    found.setdefault((tensor, quantized), (made_by, set(), False))[1].add(number[node.index])
        for name in self.walk.float_outputs:
            maker, tensor, quantized = self._origin(name)
            if maker is not None and tensor is not None:
                made_by, readers, _ = found.get((tensor, quantized), (number[maker.index], set[int](), True))
                found[tensor, quantized] = (made_by, readers, True)
        return [
            self._carried(tensor, made_by, sorted(readers), shown, quantized)
            for (tensor, quantized), (made_by, readers, shown) in found.items()
        ]

    def _carried(self, tensor: str, maker: int | None, readers: list[int], shown: bool, quantized: bool) -> Carried:
        npu, elements = self.placing.npu, math.prod(self._shape(tensor))
        link = elements / npu.host_link_bytes_per_second * NS + npu.host_copy_ns_per_element * elements
        floating = isinstance(self.walk.env[tensor], Pending | Unary | Joined | OnHost) and not quantized and not shown
        if quantized:  # which whoever makes it pays for
            to_npu_ns = link
        elif self._settled_behind(tensor):
            to_npu_ns = link + npu.host_quantize_ns_per_element * elements
        else:
            to_npu_ns = math.inf
        return Carried(
            maker,
            tuple(readers),
            shown,
            to_npu_ns=to_npu_ns,
            to_host_ns=math.inf if floating else link,
            on_host_ns=npu.host_dequantize_ns_per_element * elements,
        )

    def _settled_behind(self, tensor: str) -> bool:
        """Whether what follows says how a float tensor is quantized: it is moved, clamped or compared until then."""
        try:
            return self.walk.quantization_after(tensor) is not None
        except LowerError:  # to what the NPU does not compute with
            return False

    def _quantizing_ns(self, node: Node) -> float:
        """Of what the node makes, where the host makes it: somebody quantizes it, whoever reads it."""
        elements = 0
        for name in node.outputs:
            readers = self.walk.readers_of(name)
            if self.walk.all_quantized or any(reader.index in self.crossings for reader in readers):
                elements += math.prod(self._shape(name))
        return self.placing.npu.host_quantize_ns_per_element * elements

    def _origin(self, name: str) -> tuple[Node | None, str | None, bool]:
        """Who computes a tensor (None: an input), its name there, and whether it is quantized on the way. The name is
        None where the tensor is known."""
        quantized = self.walk.all_quantized
        while True:
            maker = self.maker.get(name)
            if maker is None:
                return None, (name if name in self.inputs else None), quantized
            if maker.index not in self.crossings:
                return maker, name, quantized
            name, quantized = maker.inputs[0], True

    # crossings

    def _absorbed(self, hosts: Mapping[int, Cause]) -> dict[int, Cause]:
        """QuantizeLinear and DequantizeLinear that have the host on both sides."""
        cause = Cause("", "")  # as little a reason as any other conversion has
        only_host: set[int] = set()
        for node in reversed(self.walk.nodes):
            if node.index in self.crossings:
                readers = [r.index for name in node.outputs for r in self.walk.readers_of(name)]
                if all(r in hosts or r in only_host or r in self.walk.folded for r in readers):
                    only_host.add(node.index)
        found: dict[int, Cause] = {}
        for node in self.walk.nodes:
            if node.index in only_host:
                maker, tensor, _ = self._origin(node.inputs[0])
                source = self.maker.get(node.inputs[0])
                begins = source is None or source.index in found or source.index in hosts
                made_on_host = maker is not None and maker.index in hosts
                given = tensor in self.inputs and self.inputs[tensor].dtype is DType.F32
                if begins and (made_on_host or given):
                    found[node.index] = cause
        return found
