"""Decide which chains to compute in groups of channels, and in which groups: by predicted noise, at a modelled price.

For every chain (split_channels.py) the channels are sorted by magnitude and cut where the noise of its tensors
(noise_model.py) becomes least. What a split gains is what it takes off the predicted noise of the whole model, so that
nothing is split whose noise drowns in that of others. Latency is its price: the chain is compiled with and without the
split, and a split must gain enough for every percent of the model's latency. The best one is taken, then the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from furc.onnx.graph import Graph
from furc.quantizer.channel_order import Order, find_moved
from furc.quantizer.noise_model import Spread, activation_noise, decibel
from furc.quantizer.partition import best_partition
from furc.quantizer.scheme import rounded_tensors
from furc.quantizer.sensitivity import Channels
from furc.quantizer.split_channels import Chain, find_chains, sorted_by, split
from furc.quantizer.split_price import LatencyPrice

MOST_GROUPS = 4
LEAST_GAIN_DB = 0.2  # of the model's noise: below it a split is not worth a line in the report
GAIN_A_GROUP_DB = 0.2  # that a further group must bring
GAIN_A_PERCENT_DB = 0.25  # that a percent of latency must bring
MULTIPLES = (4, 1)  # the NPU computes output channels in fours, so that other sizes leave lanes empty
MOST_SPLITS = 8

Channeled = dict[str, Channels]


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """One split. gain_db: by how much the model's predicted noise falls. added_ms: to its latency of model_ms, which
    is 0 where nobody asked for it.

    channels: the groups, in the tensor's old channel numbers.
    """

    chain: Chain
    order: Order
    ends: tuple[int, ...]
    gain_db: float
    added_ms: float = 0.0
    model_ms: float = 0.0

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
        percent = f"{100 * self.added_ms / self.model_ms:.1f}%" if self.model_ms else f"{self.added_ms:.3f} ms"
        return f"splitting {self.node} into {len(self.ends)} groups: +{self.gain_db:.1f} dB, +{percent} latency"


def split_where_it_pays(
    graph: Graph, tensors: Mapping[str, Channels], price: LatencyPrice | None = None
) -> tuple[list[SplitChoice], Channeled]:
    """Split chains of `graph` as long as that pays. The splits, and the channels of all tensors as they are then."""
    known, done = dict(tensors), list[SplitChoice]()
    while len(done) < MOST_SPLITS:
        choice = best_split(graph, known, price)
        if choice is None:
            break
        known = apply_split(graph, known, choice)
        done.append(choice)
    return done, known


def best_split(graph: Graph, tensors: Mapping[str, Channels], price: LatencyPrice | None = None) -> SplitChoice | None:
    """The split that gains most among those that pay; None where none does."""
    for choice in all_choices(graph, tensors):
        if price is None:
            return choice
        cost = price(graph, choice.chain, choice.ends)
        affordable = choice.gain_db / GAIN_A_PERCENT_DB / 100  # of the model's latency
        if cost.added_ms <= affordable * cost.least_ms or cost.added_ms <= affordable * price.model_ms:
            return replace(choice, added_ms=cost.added_ms)
    return None


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


def apply_split(graph: Graph, tensors: Mapping[str, Channels], choice: SplitChoice) -> Channeled:
    """Split, and bring the channels of the tensors concerned into their new order and places."""
    moved = find_moved(graph, choice.tensor)
    known = dict(tensors)
    for name, start in moved.tensors if moved is not None else ():
        if name in known:
            size = len(known[name].gain)
            places = np.arange(size)
            places[start : start + len(choice.order)] = start + choice.order
            known[name] = known[name].taken(places)
    split(graph, choice.chain, choice.order, choice.ends)
    starts = (0, *choice.ends[:-1])
    for node in choice.chain.nodes:
        if node.output not in known:
            continue
        for part, (start, end) in enumerate(zip(starts, choice.ends, strict=True)):
            known[f"{node.output}/part{part}"] = known[node.output].taken(np.arange(start, end))
        if node.output not in choice.chain.ends:
            del known[node.output]
    return known


def _choices(graph: Graph, chain: Chain, spreads: Mapping[str, Spread], total: float) -> list[SplitChoice]:
    """The ways to split a chain that gain enough, the fewest groups that do it well in each size of steps."""
    inner = [name for name in chain.inner() if name in spreads]
    if not np.isfinite(total):
        return []  # a network whose float tensors overflow
    now = sum(spreads[name].noise() for name in inner)
    if not inner or decibel(total / max(total - now, 1e-30)) < LEAST_GAIN_DB:
        return []
    worst = max(inner, key=lambda name: spreads[name].noise())
    magnitude = np.maximum(spreads[worst].high, -spreads[worst].low)
    order = sorted_by(magnitude, find_moved(graph, chain.head.output) is not None)
    costs = reduce(np.add, [spreads[name].taken(order).group_costs() for name in inner])
    found = []
    for multiple in MULTIPLES:
        best = 0.0
        kept = None
        for groups in range(2, MOST_GROUPS + 1):
            ends, noise = best_partition(costs, groups, multiple)
            gain = decibel(total / (total - now + noise))
            if len(ends) == groups and gain >= max(best + GAIN_A_GROUP_DB, LEAST_GAIN_DB):
                best, kept = gain, SplitChoice(chain, order, tuple(ends), gain)
        found += [kept] if kept is not None else []
    return found
