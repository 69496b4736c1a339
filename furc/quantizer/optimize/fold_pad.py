"""Fold a Pad with zeros into the convolutions that read it, and spell out auto_pad.

before: p = Pad(x, [0, 0, 1, 1, 0, 0, 1, 1]); y = Conv(p, w)      after: y = Conv(x, w, pads = [1, 1, 1, 1])

Leaves alone: a Pad that anything but a Conv reads, other pad values and modes, and pads that cut or touch the channels.
"""

from __future__ import annotations

from furc.onnx.graph import Graph, Node, rewrite


def fold_pad(graph: Graph) -> None:
    rewrite(graph, _explicit_pads)
    rewrite(graph, _fold)
    graph.remove_dead()


def _fold(graph: Graph, node: Node) -> bool:
    pads = _spatial_zeros(graph, node) if node.op == "Pad" and node.output not in graph.outputs else None
    readers = graph.readers(node.output)
    if pads is None or not readers or any(not _takes_pads(reader, node.output) for reader in readers):
        return False
    for conv in readers:
        own = conv.get("pads", [0] * len(pads))
        conv.attributes.pop("auto_pad", None)  # VALID, which pads must not stand beside
        conv.set(pads=[a + b for a, b in zip(own, pads, strict=True)])
        conv.inputs[0] = node.inputs[0]
    graph.remove([node])
    return True


def _takes_pads(node: Node, padded: str) -> bool:
    plain = node.op == "Conv" and node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return plain and node.inputs[0] == padded and padded not in node.inputs[1:]


def _spatial_zeros(graph: Graph, node: Node) -> list[int] | None:
    """Pads before and after each spatial axis; None where the Pad does anything else."""
    pads = graph.constants.get(node.input(1))
    fill = graph.constants.get(node.input(2)) if node.input(2) else None
    if pads is None or node.input(3) or node.get("mode", "constant") != "constant":
        return None
    if node.input(2) and (fill is None or fill.any()):
        return None
    values = [int(p) for p in pads]
    rank = len(values) // 2
    before, after = values[:rank], values[rank:]
    if min(values, default=0) < 0 or any(before[:2]) or any(after[:2]) or rank < 3:
        return None
    return before[2:] + after[2:]


def _explicit_pads(graph: Graph, node: Node) -> bool:
    """auto_pad SAME_UPPER and SAME_LOWER of a Conv or pool, as numbers, where they mean one thing."""
    mode = node.get("auto_pad", "NOTSET")
    shape = graph.shape(node.input(0))
    if node.op not in ("Conv", "MaxPool", "AveragePool") or mode not in ("SAME_UPPER", "SAME_LOWER") or shape is None:
        return False
    weight = graph.shape(node.input(1)) if node.op == "Conv" else None
    kernel = node.get("kernel_shape") or list(weight[2:] if weight else ())
    ones = [1] * len(kernel)
    total = []
    for size, k, s, d in zip(shape[2:], kernel, node.get("strides", ones), node.get("dilations", ones), strict=True):
        total.append((-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
    if min(total, default=0) < -1 or (node.op != "Conv" and max(node.get("dilations", ones)) > 1):
        return False  # runtimes differ; the frontend refuses it
    total = [max(t, 0) for t in total]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    del node.attributes["auto_pad"]
    node.set(pads=small + large if mode == "SAME_UPPER" else large + small)
    return True
