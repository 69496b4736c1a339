"""Which parts of a tidy program run as one ONNX model: neighbours, up to where somebody else needs a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isa.execute.lifetimes import places_of
from isa.execute.parts import Fused, Item, Part
from isa.instructions import Instruction
from isa.layout import Place, Window, whole
from isa.machine import Machine


@dataclass(frozen=True, slots=True)
class Member:
    """A part of a fused item, where it stands in the program."""

    fused: Fused
    index: int

    @property
    def instructions(self) -> Sequence[Instruction]:
        return self.fused.parts[self.index].instructions

    def run(self, machine: Machine) -> None:
        self.fused.take(self.index, machine)
        if self.index == len(self.fused.parts) - 1:
            self.fused.finish(machine)


def fused(items: Sequence[Item], dead: Sequence[Sequence[Place]]) -> list[Item]:
    """The items of a tidy program, with parts that stood alone as members of larger ones. dead: see Fusion."""
    fusion = Fusion(dead)
    for position, item in enumerate(items):
        if isinstance(item, Fused):
            fusion.part(position, item.parts[0])
        else:
            fusion.other(item.instructions)
    fusion.close()
    return [fusion.members.get(position, item) for position, item in enumerate(items)]


class Fusion:
    """Collects neighbours. dead: for each item of the program the places that nothing touches after it."""

    def __init__(self, dead: Sequence[Sequence[Place]]) -> None:
        self._last = {(place, index) for index, places in enumerate(dead) for place in places}
        self.members: dict[int, Member] = {}  # by position
        self._positions: list[int] = []
        self._parts: list[Part] = []
        self._sources: list[tuple[int | None, ...]] = []
        self._made: dict[Place, int] = {}  # by which part, of those collected

    def part(self, position: int, part: Part) -> None:
        """The next item is a part."""
        if not all(self._can_hand(window, part) for window in part.reads if window.place in self._made):
            self.close()
        if part.writes.place in self._made and part.writes != whole(part.writes.place):
            self.close()  # the machine puts it together
        self._sources.append(tuple(self._made.get(window.place) for window in part.reads))
        self._made[part.writes.place] = len(self._parts)
        self._parts.append(part)
        self._positions.append(position)

    def other(self, instructions: Sequence[Instruction]) -> None:
        """The next item is none, and does these."""
        if any(place in self._made for place in places_of(instructions)):
            self.close()

    def close(self) -> None:
        """What is collected is one item."""
        if self._parts:
            kept = [index for place, index in self._made.items() if not self._dies(place, index)]
            fused = Fused(self._parts, self._sources, kept)
            self.members |= {position: Member(fused, index) for index, position in enumerate(self._positions)}
        self._positions, self._parts, self._sources, self._made = [], [], [], {}

    def _can_hand(self, window: Window, reader: Part) -> bool:
        maker = self._parts[self._made[window.place]]
        return window == maker.writes == whole(window.place) and not reader.feeds_itself and not maker.looks_up

    def _dies(self, place: Place, index: int) -> bool:
        """Whether nothing behind the parts collected reads what one of them made."""
        return any((place, position) in self._last for position in self._positions[index + 1 :])
