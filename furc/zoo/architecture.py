"""What a family file says of each of its networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from furc.onnx.builder import Feature, GraphBuilder

Draw = Callable[[GraphBuilder, Feature], tuple[Feature, ...]]  # (graph, image [1, 3, h, w]) -> outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """draw: adds the network to a graph. size: rows and columns of its usual input.

    size_step: other sizes must be a multiple of it. source: the paper or repository. note: where the graph ends,
    and what differs from the source.
    """

    draw: Draw
    size: int
    source: str
    size_step: int = 1
    note: str = ""
