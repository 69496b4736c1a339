"""Pieces of operators: which boxes of operands a piece of a result needs, halo included, and the ops that make it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from isa.errors import Loc
from isa.layout import Box
from passes.ir.graph import Graph, Names
from passes.ir.op import Array, Op, Role, Value, fields_in
from passes.ir.types import InDram, TensorType
from passes.ops.move import LowLevelSlice

ACTIVATIONS = (Role.ACTIVATION,)


class Band(NamedTuple):
    """A part of a tensor that is there by itself: the value that holds it, and which box of the tensor that is."""

    value: Value
    box: Box


class Piece(NamedTuple):
    """slices: of what the op reads, to be made first. constants: its rows of those that it takes a part of."""

    slices: list[Op]
    constants: dict[Value, Array]
    op: Op


class Pieces:
    """Of the ops of a graph, and of such pieces again."""

    def __init__(self, graph: Graph, names: Names) -> None:
        self._graph, self._names, self._producers = graph, names, graph.producers()

    def piece(self, op: Op, box: Box, at: int, bands: Mapping[Value, Band]) -> Piece:
        """The op that makes a box of the result. at: where the box begins, for names. bands: what is there of tensors
        that are nowhere as a whole."""
        name = self._names.fresh(f"{op.result.name}.{at}")
        shape = box.shape(op.result.type.shape4.w)
        result = Value(name, replace(op.result.type, shape=tuple(shape), place=None))
        constants = self._constants(op, box, at)
        changes: dict[str, Any] = {"results": (result,), **op.piece(box)}
        changes |= {field: value for field, (value, _) in constants.items()}
        slices: list[Op] = []
        for field in fields_in(type(op), ACTIVATIONS):
            held: dict[Value, Value] = {}
            for value in dict.fromkeys(op.held(field)):
                band = self._present(value, op.needs_of(field.name, value, box), bands)
                held[value] = self._sliced(band, f"{name}.{field.name}", op.loc, slices)
            many = field.kind == "many"
            changes[field.name] = tuple(held[v] for v in op.held(field)) if many else next(iter(held.values()), None)
        return Piece(slices, dict(constants.values()), replace(op, **changes))

    def in_dram(self, value: Value) -> Band | None:
        """The DRAM tensor that a value is, or is loaded from, and which box of it; None for what is made on chip."""
        if isinstance(value.type.place, InDram):
            return Band(value, value.type.shape4.box)
        op = self._producers.get(value)
        source = self.in_dram(op.x) if isinstance(op, LowLevelSlice) else None
        if source is None:
            return None
        assert isinstance(op, LowLevelSlice)
        return Band(source.value, op.box.within(source.box))

    def root(self, value: Value, box: Box | None = None) -> Band:
        """What a value, or a box of it, is a view of, and which box of that."""
        box = box if box is not None else value.type.shape4.box
        maker = self._producers.get(value)
        return self.root(maker.x, box.within(maker.box)) if isinstance(maker, LowLevelSlice) else Band(value, box)

    def _present(self, value: Value, box: Box, bands: Mapping[Value, Band]) -> Band:
        """Where a box of a value is to be had."""
        if bands:
            root, inside = self.root(value, box)
            if root in bands:
                return Band(bands[root].value, inside._replace(h0=inside.h0 - bands[root].box.h0))
        return Band(value, box)

    def _sliced(self, wanted: Band, name: str, loc: Loc, slices: list[Op]) -> Value:
        """A value that is no more than a box of another one: that itself, or a slice, which is appended."""
        value, box = wanted
        shape = box.shape(value.type.shape4.w)
        source = self.in_dram(value)
        if source is not None:
            value, box = source.value, box.within(source.box)
        elif shape == value.type.shape4:
            return value
        result = Value(self._names.fresh(name), TensorType(tuple(shape), value.type.dtype, value.type.quant))
        slices.append(LowLevelSlice(results=(result,), loc=loc, x=value, box=box))
        self._producers[result] = slices[-1]
        return result

    def _constants(self, op: Op, box: Box, at: int) -> dict[str, tuple[Value, Array]]:
        """The rows of its constants that a piece takes, as constants of their own, by the field that holds them."""
        found: dict[str, tuple[Value, Array]] = {}
        for field, rows in op.constant_rows(box).items():
            old: Value = getattr(op, field)
            array = self._graph.constants[old][rows]
            found[field] = Value(self._names.fresh(f"{old.name}.{at}"), old.type.shaped(array.shape)), array
        return found


def needed(op: Op, box: Box) -> Iterator[tuple[Value, Box]]:
    """The operands of a piece of an op, as often as it reads each, with the box that it needs: the halo among it."""
    for field in fields_in(type(op), ACTIVATIONS):
        for value in op.held(field):
            yield value, op.needs_of(field.name, value, box)
