"""Who runs when: the turns that host and NPU take, from the ops of a graph in their order."""

from __future__ import annotations

from typing import NamedTuple

from passes.ir.graph import Graph
from passes.ir.op import Op, Role, Runs, Value
from passes.ops.host import Relayout


class Turn(NamedTuple):
    """Consecutive ops of one side."""

    runs: Runs  # HOST or NPU
    ops: tuple[Op, ...]


def turns(graph: Graph) -> list[Turn]:
    """The turns of an ordered graph. Loads of constants join the next turn of the NPU: they may run ahead of the
    host."""
    producers = graph.producers()
    found: list[Turn] = []
    mine: list[Op] = []
    side, ahead = Runs.NPU, list[Op]()
    for op in graph.ops:
        if is_load_ahead(op):
            ahead.append(op)
            continue
        if is_silent(op, producers):
            continue
        now = Runs.HOST if op.runs is Runs.HOST else Runs.NPU
        if now is not side and mine:
            found.append(Turn(side, tuple(mine)))
            mine = []
        side = now
        if side is Runs.NPU:
            mine += ahead
            ahead = []
        mine.append(op)
    return [*found, Turn(side, tuple(mine))] if mine else found


def is_load_ahead(op: Op) -> bool:
    """True for loads of constants, which wait for nothing."""
    return op.runs is Runs.DMA and bool(op.reads(Role.CONSTANT))


def is_silent(op: Op, producers: dict[Value, Op]) -> bool:
    """True for what nobody executes: names of bytes, and re-layouts that the runtime does while it copies to or from
    DRAM.

    A re-layout of what the host has stays an op of the host, and one that changes the order of axes."""
    if op.runs is Runs.NOBODY:
        return True
    if not isinstance(op, Relayout) or op.perm:
        return False
    maker = producers.get(op.x)
    return op.feeds_npu or (maker is not None and maker.runs is not Runs.HOST)


def turn_numbers(graph: Graph) -> dict[Op, int]:
    """The earliest turn that what an op reads allows it: even ones are the host's, odd ones the NPU's."""
    made: dict[Value, int] = {}
    turn: dict[Op, int] = {}
    for op in graph.ops:
        earliest = max((made.get(v, 0) for v in op.operands()), default=0)
        host = op.runs is Runs.HOST
        turn[op] = earliest + (earliest % 2 if host else 1 - earliest % 2)
        made.update(dict.fromkeys(op.results, turn[op]))
    users = graph.users()
    for op in reversed(graph.ops):  # buffers and constants are made when they are first needed
        if is_load_ahead(op) or (op.runs is Runs.NOBODY and not op.activations()):
            turn[op] = min((turn[user] for v in op.results for user in users.get(v, ())), default=turn[op])
    return turn


def is_hosts(number: int) -> bool:
    """True for turns of the host."""
    return number % 2 == 0
