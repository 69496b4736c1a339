"""Which function converts which TFLite operator, and in which order of axes. The families fill it when imported."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from furc.tflite.model import Operator
from furc.tflite.writer import Writer

Handler: TypeAlias = Callable[[Writer, Operator], None]
HANDLERS: dict[str, Handler] = {}


class Order(Enum):
    """In which order of axes an operator takes what has four."""

    PLAIN = "n, h, w, c"
    IMAGE = "n, c, h, w"
    EITHER = "the one that it has or will be wanted in"


ORDERS: dict[str, Order] = {}


def operator(*names: str, order: Order = Order.PLAIN) -> Callable[[Handler], Handler]:
    """Decorator: the function converts these operators."""

    def add(handler: Handler) -> Handler:
        for name in names:
            assert name not in HANDLERS, f"two converters of {name}"
            HANDLERS[name], ORDERS[name] = handler, order
        return handler

    return add
