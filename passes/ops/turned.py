"""Tensors of any rank with some of their axes as the channels of the machine, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from isa.errors import Loc
from isa.operands import MAX_IMAGES
from passes.ir.op import Lowering, Value
from passes.ops.move import Reshape, Transpose


class Turned(NamedTuple):
    """How a tensor lies where some axes are its channels: axes in another order, then four of them."""

    perm: tuple[int, ...]
    shape: tuple[int, ...]  # in that order
    four: tuple[int, int, int, int]

    @property
    def back(self) -> tuple[int, ...]:
        """The order that undoes perm."""
        return tuple(self.perm.index(axis) for axis in range(len(self.perm)))


def turned(shape: Sequence[int], axes: Sequence[int]) -> Turned:
    """Images stay images where the machine can address so many; what is kept besides becomes rows and columns."""
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    images = kept[:1] if kept[:1] == [0] and shape[0] <= MAX_IMAGES else []
    rest = [shape[axis] for axis in kept[len(images) :]]
    perm = (*images, *axes, *kept[len(images) :])
    n, c = math.prod(shape[a] for a in images), math.prod(shape[a] for a in axes)
    h, w = (math.prod(rest[:-1]), rest[-1]) if len(rest) > 1 else (math.prod(rest), 1)
    return Turned(perm, tuple(shape[a] for a in perm), (n, c, h, w))


def over_channels(low: Lowering, x: Value, how: Turned, loc: Loc) -> Value:
    """x with the axes as channels, lowered."""
    ordered = Value(low.fresh(f"{x.name}.ordered"), x.type.shaped(how.shape))
    Transpose(results=(ordered,), loc=loc, x=x, perm=how.perm).lower(low)
    four = Value(low.fresh(f"{x.name}.channels"), x.type.shaped(how.four))
    Reshape(results=(four,), loc=loc, x=ordered, to=how.four).lower(low)
    return low.value(four)


def turned_back(low: Lowering, four: Value, shape: tuple[int, ...], how: Turned, result: Value, loc: Loc) -> None:
    """The result, out of what was made over channels. shape: of that under the axes in the order of `how`."""
    ordered = Value(low.fresh(f"{result.name}.ordered"), result.type.shaped(shape))
    Reshape(results=(ordered,), loc=loc, x=four, to=shape).lower(low)
    Transpose(results=(result,), loc=loc, x=ordered, perm=how.back).lower(low)
