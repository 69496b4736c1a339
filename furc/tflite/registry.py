"""Which function converts which TFLite operator. The families fill it when they are imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from furc.tflite.model import Operator
from furc.tflite.writer import Writer

Handler: TypeAlias = Callable[[Writer, Operator], None]
HANDLERS: dict[str, Handler] = {}


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Decorator: the function converts these operators."""

    def add(handler: Handler) -> Handler:
        for name in names:
            assert name not in HANDLERS, f"two converters of {name}"
            HANDLERS[name] = handler
        return handler

    return add
