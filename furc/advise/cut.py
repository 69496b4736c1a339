"""Where to cut the head and the tail off: in front of what the NPU cannot take or is slow at, and of what would put
unlike numbers on one scale. The NPU then has the part in between; the rest runs in float on the host.

The cut goes up from its reason to where the layers end: through views and arithmetic between them, not through a
layer's own activation function, which costs nothing where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.advise.surgery import ancestors, followers, halves
from furc.advise.unlike import unlike_concats
from furc.check import Where
from furc.onnx.graph import Node
from isa.errors import counted

KIND = "cut"
LARGEST_SHARE = 0.02  # of the model's multiplications: what is more is no tail
VIEWS = {
    "Reshape", "Transpose", "Flatten", "Slice", "Split", "Squeeze", "Unsqueeze", "Expand", "Gather", "Identity",
    "Concat", "Cast",
}  # fmt: skip
POINTWISE = {
    "Sigmoid", "Exp", "Log", "Sqrt", "Pow", "Tanh", "Relu", "Clip", "Softmax", "LogSoftmax", "Add", "Sub", "Mul", "Div",
    "Neg", "Floor", "Round", "Max", "Min",
}  # fmt: skip
SHOWN = 3  # names in a text


class Reason(NamedTuple):
    """A node that is a reason for a cut, in words. rescues: INT8 would lose something."""

    node: Node
    words: str
    rescues: bool = False


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    """Cuts of the tail, each for more reasons than the one before, then of the head."""
    hosts, unlike, softmax = _hosts(subject), list(_unlike(subject)), list(_softmax(subject))
    found: dict[tuple[str, ...], Draft] = {}
    for reasons in (hosts, unlike, [*hosts, *unlike, *softmax]):
        draft = _tail(subject, reasons)
        if draft is not None:
            found[draft.tensors] = draft  # for more reasons than the one before, where it is the same
    yield from found.values()
    heads = {draft.tensors: draft for draft in _heads(subject, hosts)}
    yield from (draft for tensors, draft in heads.items() if tensors not in found)


def final_softmax(subject: Subject) -> Node | None:
    """A Softmax behind which only views follow: softmax.py says what to do about it."""
    for node in subject.graph.nodes:
        if node.op in ("Softmax", "LogSoftmax"):
            behind = followers(subject.graph, [node]).values()
            if all(each is node or each.op in VIEWS for each in behind):
                return node
    return None


# --- reasons --------------------------------------------------------------------------------------------------


def _hosts(subject: Subject) -> list[Reason]:
    left = {j.node: j for j in subject.report.of(Where.HOST, Where.REFUSED) if not j.possible}
    named = ((node, left.get(subject.name_of(node))) for node in subject.graph.nodes)
    return [Reason(node, f"'{j.node}': {j.reason}") for node, j in named if j is not None]


def _unlike(subject: Subject) -> Iterator[Reason]:
    if subject.is_float:
        for found in unlike_concats(subject):
            yield Reason(found.node, found.reason(subject.name_of(found.node)), rescues=True)


def _softmax(subject: Subject) -> Iterator[Reason]:
    last = final_softmax(subject)
    for node in subject.graph.nodes:
        if node.op == "Softmax" and node is not last:
            yield Reason(node, f"'{subject.name_of(node)}' is a Softmax, three passes of the NPU")


# --- the tail -------------------------------------------------------------------------------------------------


def _tail(subject: Subject, reasons: list[Reason]) -> Draft | None:
    kept = [reason for reason in reasons if _is_small(subject, followers(subject.graph, [reason.node]))]
    if not kept:
        return None
    tail = _up_to_the_layers(subject, followers(subject.graph, [reason.node for reason in kept]))
    cut = halves(subject.graph, tail)
    if cut is None:
        return None
    return Draft(
        kind=KIND, title=f"cut the tail at {counted(len(cut.cut), 'tensor')}", why=_told(kept), tensors=tuple(cut.cut),
        change=Change(model=cut.first, rest=cut.second, how="--apply; run the rest in float on the host"),
        rescues=any(reason.rescues for reason in kept), reasons=len(kept),
    )  # fmt: skip


def _is_small(subject: Subject, nodes: dict[int, Node]) -> bool:
    return sum(subject.macs[i] for i in nodes) <= LARGEST_SHARE * sum(subject.macs.values())


def _up_to_the_layers(subject: Subject, tail: dict[int, Node]) -> dict[int, Node]:
    """With what stands between the layers and the reason, where nothing else reads it."""
    graph, found, waiting = subject.graph, dict(tail), list(tail.values())
    while waiting:
        for name in waiting.pop().inputs:
            node = graph.producer(name)
            if node is None or id(node) in found or not _is_between(subject, node):
                continue
            if all(id(reader) in found for made in node.outputs for reader in graph.readers(made)):
                found[id(node)] = node
                waiting += [node, *_others(subject, node, found)]
    return found


def _others(subject: Subject, node: Node, found: dict[int, Node]) -> list[Node]:
    """Whoever waited for this node: other parts of the tail that read what it reads."""
    readers = (r for name in node.inputs for r in subject.graph.readers(name))
    return [reader for reader in readers if id(reader) in found]


def _is_between(subject: Subject, node: Node) -> bool:
    if node.op in VIEWS:
        return True
    return node.op in POINTWISE and not _ends_a_layer(subject, node, set())


def _ends_a_layer(subject: Subject, node: Node, seen: set[int]) -> bool:
    """It works on what a layer makes, directly or behind other such arithmetic: an activation, a residual sum."""
    for name in node.inputs:
        maker = subject.graph.producer(name)
        if maker is None or id(maker) in seen:
            continue
        seen.add(id(maker))
        if maker.op in POINTWISE:
            if _ends_a_layer(subject, maker, seen):
                return True
        elif maker.op not in VIEWS:
            return True
    return False


# --- the head -------------------------------------------------------------------------------------------------


def _heads(subject: Subject, hosts: list[Reason]) -> Iterator[Draft]:
    """What the NPU cannot take in front of the first layer; then all that is in front of it."""
    graph = subject.graph
    first = [node for node in graph.nodes if node.op not in VIEWS | POINTWISE]
    behind = followers(graph, first)
    ahead = [node for node in graph.nodes if id(node) not in behind]
    at_head = [r for r in hosts if id(r.node) not in behind or _is_small(subject, ancestors(graph, [r.node]))]
    if at_head:
        yield from _head(subject, ancestors(graph, [r.node for r in at_head]), _told(at_head))
    why = f"{_listed([subject.name_of(node) for node in ahead])} work on the input, in INT8, before the first layer"
    if ahead and any(node.op != "Cast" for node in ahead):
        yield from _head(subject, {id(node): node for node in ahead}, why)


def _head(subject: Subject, head: dict[int, Node], why: str) -> Iterator[Draft]:
    if not _is_small(subject, head):
        return
    cut = halves(subject.graph, {id(node) for node in subject.graph.nodes if id(node) not in head})
    if cut is not None and not set(subject.graph.outputs) & {o.name for o in cut.first.graph.output}:
        yield Draft(
            kind=KIND, title=f"cut the head at {counted(len(cut.cut), 'tensor')}", why=why, tensors=tuple(cut.cut),
            change=Change(model=cut.second, before=cut.first, how="--apply; run the head in float on the host"),
        )  # fmt: skip


# --- words ----------------------------------------------------------------------------------------------------


def _told(reasons: Iterable[Reason]) -> str:
    words = list(dict.fromkeys(reason.words for reason in reasons))
    more = f"; and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return "; ".join(words[:SHOWN]) + more


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
