"""Concats of unlike ranges: INT8 has one scale for what they join, and little of it is left for the smaller part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from furc.advise.subject import Range, Subject
from furc.advise.surgery import followers
from furc.onnx.graph import Node
from furc.quantizer.grids.affine import STEPS
from furc.quantizer.grids.operators import FIXED_RANGES
from furc.quantizer.reports.joined import UNLIKE

SAME_VALUES = {"Split", "Slice", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"}


class Unlike(NamedTuple):
    """A Concat, and the ranges of the largest and the smallest that it joins."""

    node: Node
    large: Range
    small: Range

    def reason(self, name: str) -> str:
        left = STEPS * _reach(self.small) / _span(self.large)
        return (
            f"'{name}' joins {_words(self.large)} and {_words(self.small)} on one scale: INT8 leaves the smaller part "
            f"{max(left, 0):.1f} of {STEPS} steps"
        )


def unlike_concats(subject: Subject) -> Iterator[Unlike]:
    """Those behind the last weights of the model."""
    joined = {node.output: _computed(subject, node) for node in subject.graph.nodes if _is_at_the_end(subject, node)}
    seen = subject.ranges([name for names in joined.values() for name in names])
    for output, names in joined.items():
        ranges = [_bounds(subject, name, seen[name]) for name in names if name in seen]
        node = subject.graph.producer(output)
        if len(ranges) < 2 or node is None:
            continue
        large, small = max(ranges, key=_reach), min(ranges, key=_reach)
        if _reach(small) > 0 and _reach(large) / _reach(small) >= UNLIKE:
            yield Unlike(node, large, small)


def _is_at_the_end(subject: Subject, node: Node) -> bool:
    """A Concat of float tensors behind which nothing has weights."""
    if node.op != "Concat" or not subject.graph.is_float(node.output):
        return False
    return not any(subject.is_linear(each) for each in followers(subject.graph, [node]).values())


def _computed(subject: Subject, node: Node) -> list[str]:
    return [name for name in node.inputs if name not in subject.graph.constants]


def _bounds(subject: Subject, name: str, seen: Range) -> Range:
    """What is known of any input, where something is."""
    node = subject.graph.producer(name)
    while node is not None and node.op in SAME_VALUES:
        node = subject.graph.producer(node.inputs[0])
    return FIXED_RANGES.get(node.op, seen) if node is not None else seen


def _reach(ends: Range) -> float:
    return max(abs(ends[0]), abs(ends[1]))


def _span(ends: Range) -> float:
    return max(ends[1], 0.0) - min(ends[0], 0.0)


def _words(ends: Range) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"
