"""Which function imports which ONNX operator. The operator families fill it when they are imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from furc.frontend.context import Context
from furc.frontend.entries import Entry
from furc.frontend.onnx.node import Node

OnnxContext: TypeAlias = Context[Node]
Handler: TypeAlias = Callable[[OnnxContext, Node], Entry | tuple[Entry, ...]]
HANDLERS: dict[str, Handler] = {}
MOVES: set[str] = set()  # operators whose result holds elements of their first operand, or clamps or compares them


def operator(*names: str, moves: bool = False) -> Callable[[Handler], Handler]:
    """Decorator: the function imports these operators. moves: they commute with quantization."""

    def add(handler: Handler) -> Handler:
        for name in names:
            assert name not in HANDLERS, f"two importers of {name}"
            HANDLERS[name] = handler
        if moves:
            MOVES.update(names)
        return handler

    return add
