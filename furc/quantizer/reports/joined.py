"""Concats behind the last layer whose one grid leaves next to nothing of what spans little: scores of 0 to 1 beside
boxes of 0 to 640 all become 0. Beside the power of the whole output that is no noise, and no layer behind weighs the
parts, so that neither gains nor the SQNR show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from furc.onnx.graph import Array, Graph, Node
from furc.quantizer.grids.affine import STEPS, Range, with_zero
from furc.quantizer.grids.operators import LINEAR
from furc.quantizer.grids.scheme import quantized_tensors
from furc.quantizer.noise.warning import LintWarning
from furc.quantizer.observe.float_run import Feed, FloatRun

UNLIKE = 16.0  # times as large: of 8 bits, 4 are left for the smaller one
HINT = (
    "`furc advise` finds where to cut the model in front of that, --apply writes both parts; or give each part an "
    "output of its own"
)


def lost_in_concats(graph: Graph, samples: Sequence[Feed]) -> Iterator[LintWarning]:
    """A warning of each such Concat, with the part that loses most. graph: float. samples: a few are enough."""
    parts = {node.output: _computed(graph, node) for node in _last_concats(graph)}
    names = list(dict.fromkeys(name for joined in parts.values() for name in joined))
    if not names or not samples:
        return
    run = FloatRun(graph, names)
    seen = [run(feed) for feed in samples]
    ranges = {name: _range([values[name] for values in seen]) for name in names}
    for output, joined in parts.items():
        spanned = {name: high - low for name, (low, high) in ((name, ranges[name]) for name in joined)}
        large = max(spanned, key=lambda name: spanned[name])
        small = min((name for name in joined if spanned[name] > 0), key=lambda name: spanned[name], default=large)
        if spanned[small] * UNLIKE <= spanned[large]:
            yield _lost(graph, output, (small, ranges[small]), (large, ranges[large]))


def _last_concats(graph: Graph) -> Iterator[Node]:
    """Of values that are computed, onto one grid, behind which no layer weighs them."""
    stored = set(quantized_tensors(graph))
    for node in graph.nodes:
        joins = node.op == "Concat" and node.output in stored and len(_computed(graph, node)) > 1
        if joins and not _reaches_layer(graph, node):
            yield node


def _reaches_layer(graph: Graph, node: Node) -> bool:
    ahead, met = [node], set[str]()
    while ahead:
        for name in ahead.pop().outputs:
            for reader in graph.readers(name) if name not in met else ():
                if reader.op in LINEAR:
                    return True
                ahead.append(reader)
            met.add(name)
    return False


def _computed(graph: Graph, node: Node) -> list[str]:
    return [name for name in node.inputs if name not in graph.constants]


def _range(values: Sequence[Array]) -> Range:
    """With 0, which every grid holds; of tensors without elements nothing."""
    filled = [of for of in values if of.size]
    return with_zero(min((float(np.min(of)) for of in filled), default=0.0),
                     max((float(np.max(of)) for of in filled), default=0.0))  # fmt: skip


def _lost(graph: Graph, output: str, small: tuple[str, Range], large: tuple[str, Range]) -> LintWarning:
    (name, ends), (other, wide) = small, large
    left = STEPS * (ends[1] - ends[0]) / (wide[1] - wide[0])
    node = graph.producer(output)
    return LintWarning(
        "LostInConcat",
        output,
        f"{(node and node.name) or output} joins '{name}', {ends[0]:.3g} to {ends[1]:.3g}, and '{other}', "
        f"{wide[0]:.3g} to {wide[1]:.3g}, on one scale: INT8 leaves the former {left:.1f} of {STEPS} steps",
        HINT,
        node.loc if node else graph.nodes[0].loc,
    )
