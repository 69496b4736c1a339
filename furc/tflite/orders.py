"""Which tensors are best had as n, c, h, w: what an operator takes as an image, and what leads there in either order.

Only for speed: whatever order a tensor is in, it is turned where somebody asks for the other.
"""

from __future__ import annotations

from furc.tflite.model import Model
from furc.tflite.registry import ORDERS, Order


def images(model: Model) -> set[int]:
    """The tensors of four axes, by their number in the file."""
    found: set[int] = set()
    for operator in reversed(model.operators):
        order = ORDERS.get(operator.op, Order.PLAIN)  # what counts extents has no order
        if order is Order.IMAGE or (order is Order.EITHER and not found.isdisjoint(operator.outputs)):
            found.update(n for n in operator.inputs if n >= 0 and model.tensors[n].rank == 4)
    return found
