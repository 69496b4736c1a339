"""Decide which chains to compute in groups of channels, and in which groups: by predicted noise, at a modelled price.

For every chain (split_channels.py) the channels are sorted by magnitude and cut where the noise of its tensors
(noise_model.py) becomes least. What a split gains is what it takes off the predicted noise of the whole model, so that
nothing is split whose noise drowns in that of others. Latency is its price: the chain is compiled with and without the
split, and a split must gain enough for every percent of the model's latency. The best one is taken, then the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from furc.onnx.graph import Graph
from furc.onnx.moves import is_move
from furc.quantizer.channels.channel_order import Order, find_moved
from furc.quantizer.channels.partition import best_partition
from furc.quantizer.channels.split_channels import Chain, find_chains, join_of, part_of, sorted_by, split
from furc.quantizer.channels.split_price import Latency, LatencyPrice
from furc.quantizer.grids.operators import FIXED_RANGES
from furc.quantizer.grids.scheme import rounded_tensors
from furc.quantizer.sensitivity.gains import Channels
from furc.quantizer.sensitivity.noise_model import Spread, activation_noise, decibel
from isa.errors import counted

MOST_GROUPS = 4
LEAST_GAIN_DB = 0.05  # of the model's noise
GAIN_A_GROUP_DB = 0.05  # that a further group must bring
GAIN_A_PERCENT_DB = 0.25  # that a percent of latency must bring
MULTIPLES = (4, 1)  # the NPU computes output channels in fours, so that other sizes leave lanes empty
MOST_SPLITS = 40
WORTH_A_LINE_DB = 0.2  # of its own in what users are told
LEAST_PERCENT = 0.1  # of latency that one digit tells

Channeled = dict[str, Channels]


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """One split. total, saved: the model's predicted noise before it, in parts of the outputs' power, and what it takes
    off. added_ms: to the model's latency of model_ms, which is 0 where nobody asked for it.

    channels: the groups, in the tensor's old channel numbers.
    """

    chain: Chain
    order: Order
    ends: tuple[int, ...]
    total: float
    saved: float
    added_ms: float = 0.0
    model_ms: float = 0.0

    @property
    def gain_db(self) -> float:
        """By how much the model's predicted noise falls."""
        return decibel(self.total / max(self.total - self.saved, 1e-30))

    def behind(self, saved: float) -> SplitChoice:
        """The same where other splits have saved so much before."""
        return replace(self, total=self.total - saved)

    @property
    def tensor(self) -> str:
        return self.chain.head.output

    @property
    def node(self) -> str:
        return self.chain.head.name or self.tensor

    @property
    def channels(self) -> list[list[int]]:
        starts = (0, *self.ends[:-1])
        return [self.order[start:end].tolist() for start, end in zip(starts, self.ends, strict=True)]

    def __str__(self) -> str:
        cost = _latency(self.added_ms, self.model_ms)
        return f"splitting {self.node} into {len(self.ends)} groups: +{self.gain_db:.1f} dB predicted, {cost}"


def whole(choices: Sequence[SplitChoice]) -> dict[str, str]:
    """The names that layers had before these splits, by the names of their parts, of the parts of those, and of what
    joins them."""
    found = dict[str, str]()
    for choice in choices:
        for node in choice.chain.nodes:
            name = node.name or node.output
            found |= {part_of(name, place): found.get(name, name) for place in range(len(choice.ends))}
        for tensor in choice.chain.ends:
            layer = choice.chain.layer_of(tensor)
            name = layer.name or layer.output
            found[join_of(tensor)] = found.get(name, name)
    return found


def in_words(choices: Sequence[SplitChoice], model: Latency) -> list[str]:
    """What was split: a line for each that matters, one for all others, and one for all. model: before the splits."""
    large = [choice for choice in choices if choice.gain_db >= WORTH_A_LINE_DB]
    small = [choice for choice in choices if choice.gain_db < WORTH_A_LINE_DB]
    lines = [str(replace(choice, model_ms=model.ms)) for choice in large]
    if small:
        gain, added = (sum(values) for values in zip(*((c.gain_db, c.added_ms) for c in small), strict=True))
        chains = counted(len(small), "other chain" if large else "chain")
        lines.append(f"splitting {chains}: +{gain:.1f} dB predicted, {_latency(added, model.ms)}")
    if model.ms:
        added = sum(choice.added_ms for choice in choices)
        (before, after), (npu, npu_after) = ((ms, ms + added) for ms in model)
        lines.append(f"latency with splits {before:.2f} -> {after:.2f} ms, of it NPU {npu:.2f} -> {npu_after:.2f} ms")
    return lines


def _latency(added_ms: float, model_ms: float) -> str:
    percent = 100 * added_ms / model_ms if model_ms else 0.0
    digits = 1 if percent >= LEAST_PERCENT or not added_ms else 2
    return f"+{percent:.{digits}f}% latency" if model_ms else f"+{added_ms:.3f} ms latency"


def split_where_it_pays(
    graph: Graph, tensors: Mapping[str, Channels], price: LatencyPrice | None = None
) -> tuple[list[SplitChoice], Channeled]:
    """Split chains of `graph` as long as that pays. The splits, and the channels of all tensors as they are then."""
    known, done = dict(tensors), list[SplitChoice]()
    while taken := _round(graph, known, price, MOST_SPLITS - len(done)):
        done += taken
    return done, known


def _round(graph: Graph, known: Channeled, price: LatencyPrice | None, most: int) -> list[SplitChoice]:
    """Split what pays, what gains most first, but for what an earlier split of this round has touched; no more than
    half of the noise, since how many groups pay is told from all of it. known: is brought up to date."""
    taken, touched, saved = list[SplitChoice](), set[str](), 0.0
    for choice in all_choices(graph, known) if most > 0 else []:
        if touched.intersection(node.output for node in choice.chain.nodes):
            continue
        now = choice.behind(saved)
        found = now if price is None else _affordable(graph, now, price)
        if found is None:
            continue
        touched |= apply_split(graph, known, found)
        saved += found.saved
        taken.append(found)
        if len(taken) == most or saved > choice.total / 2:
            break
    return taken


def _affordable(graph: Graph, choice: SplitChoice, price: LatencyPrice) -> SplitChoice | None:
    """With its price; None where it gains too little for it."""
    cost = price(graph, choice.chain, choice.ends)
    most = choice.gain_db / GAIN_A_PERCENT_DB / 100  # of the model's latency
    pays = cost.added_ms <= most * cost.least_ms or cost.added_ms <= most * price.model_ms
    return replace(choice, added_ms=cost.added_ms) if pays else None


def all_choices(graph: Graph, tensors: Mapping[str, Channels]) -> list[SplitChoice]:
    """Every split that gains enough, whatever its price, what gains most first."""
    rounded = rounded_tensors(graph)
    spreads = activation_noise(graph, {name: c for name, c in tensors.items() if name in rounded})
    total = sum(spread.noise() for spread in spreads.values())
    found = [choice for chain in find_chains(graph) for choice in _choices(graph, chain, spreads, total)]
    return sorted(found, key=lambda choice: -choice.gain_db)


def priced(graph: Graph, choice: SplitChoice, price: LatencyPrice) -> SplitChoice:
    """With what it adds to the model's latency, in milliseconds and in parts."""
    return replace(choice, added_ms=price(graph, choice.chain, choice.ends).added_ms, model_ms=price.model_ms)


def apply_split(graph: Graph, known: Channeled, choice: SplitChoice) -> set[str]:
    """Split, and bring the channels of the tensors concerned into their new order and places. Which these are."""
    moved = find_moved(graph, choice.tensor)
    places_of = moved.tensors if moved is not None else ()
    for name, start in places_of:
        if name in known:
            size = len(known[name].gain)
            places = np.arange(size)
            places[start : start + len(choice.order)] = start + choice.order
            known[name] = known[name].taken(places)
    for node in choice.chain.nodes:
        if node.output not in known and is_move(graph, node) and node.inputs[0] in known:
            known[node.output] = known[node.inputs[0]]  # what joins its groups has a grid of its own
    split(graph, choice.chain, choice.order, choice.ends)
    starts = (0, *choice.ends[:-1])
    for node in choice.chain.nodes:
        if node.output not in known:
            continue
        for part, (start, end) in enumerate(zip(starts, choice.ends, strict=True)):
            known[part_of(node.output, part)] = known[node.output].taken(np.arange(start, end))
        if node.output not in choice.chain.ends or node.op in FIXED_RANGES:  # then a Concat's, on the operator's grid
            del known[node.output]
    return {name for name, _ in places_of} | {node.output for node in choice.chain.nodes}


def _choices(graph: Graph, chain: Chain, spreads: Mapping[str, Spread], total: float) -> list[SplitChoice]:
    """The ways to split a chain that gain enough, the fewest groups that do it well in each size of steps."""
    inner = [name for name in chain.inner() if name in spreads]
    if not np.isfinite(total):
        return []  # a network whose float tensors overflow
    now = sum(spreads[name].noise() for name in inner)
    if not inner or decibel(total / max(total - now, 1e-30)) < LEAST_GAIN_DB:
        return []
    worst = max(inner, key=lambda name: spreads[name].predicted())
    magnitude = np.maximum(spreads[worst].high, -spreads[worst].low)
    order = sorted_by(magnitude, find_moved(graph, chain.head.output) is not None)
    costs = reduce(np.add, [spreads[name].taken(order).group_costs() for name in inner])
    found = []
    for multiple in MULTIPLES:
        best = 0.0
        kept = None
        for groups in range(2, MOST_GROUPS + 1):
            ends, noise = best_partition(costs, groups, multiple)
            choice = SplitChoice(chain, order, tuple(ends), total, now - noise)
            if len(ends) == groups and choice.gain_db >= max(best + GAIN_A_GROUP_DB, LEAST_GAIN_DB):
                best, kept = choice.gain_db, choice
        found += [kept] if kept is not None else []
    return found
