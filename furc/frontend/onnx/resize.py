"""Resize and Upsample: nearest neighbours by integer factors repeat elements, as do linear ones of axes of one element;
others are for the wider set of operators; everything else is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from furc.frontend.entries import Entry
from furc.frontend.onnx.linear_resize import linear, obstacle
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import checked_axis
from furc.frontend.onnx.registry import OnnxContext, operator
from isa.enf import OPEN
from isa.errors import counted
from passes.dfg.legality import HINTS, OperatorSet
from passes.ir.op import Array, Value

LINEAR_HINT = (
    "resize in half pixels by smaller whole factors, 4 say, in the wider operator set, or use nearest neighbours, or "
    "cut the model before this node"
)


@operator("Resize", "Upsample", moves=True)
def resize(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    out, scales = _resized(context, node, x)
    if out == list(x.type.shape):
        return context.moved(node, x)
    mode = node.text("mode", "nearest")
    if _repeats(node, x.type.shape, out, scales):
        factors = [o // d for d, o in zip(x.type.shape, out, strict=True)]
        return context.moved(node, context.builder.repeat(x, factors, True, node.output, node.loc))
    why = obstacle(node, x.type.shape, out, scales) if mode == "linear" else ""
    if mode == "linear" and not why and context.operator_set == OperatorSet.SDK010:
        return linear(context, node, x, out)
    was, becomes = list(x.type.shape), out
    transformation = node.text("coordinate_transformation_mode", "half_pixel")
    message = f"{node.op} is not accelerated: mode {mode}, {transformation}, {was} to {becomes}"
    if why:
        raise node.unsupported(f"{message}: {why}", LINEAR_HINT)
    raise node.unsupported(message, HINTS["Resize"])


def interpolates(node: Node) -> bool:
    """Whether results are sums of elements: those of rounded and clipped ones are others than the sums rounded."""
    return node.op in ("Resize", "Upsample") and node.text("mode", "nearest") != "nearest"


def agree_on_extents(
    node: Node, shape: Sequence[int] | None, constants: Mapping[str, Array], inferred: Sequence[int] | None
) -> None:
    """shape: of the input, inferred: of the result by ONNX's inference; None where they are not known. ONNX Runtime
    rounds extent times scale to float32 before it rounds down: 3 by 5/3 are 5 elements there, 4 to ONNX.

    Raises LowerError UnsupportedOperator where the two differ: what reads the result would have one shape or the other.
    """
    at = _place_of_scales(node)
    known = node.op in ("Resize", "Upsample") and node.has_input(at) and node.inputs[at] in constants
    if not known or not shape or inferred is None or len(shape) != len(inferred):
        return
    scales = constants[node.inputs[at]].reshape(-1).astype(np.float32)
    axes = [axis % len(shape) for axis in node.integers("axes", ())] or range(len(shape))
    if len(scales) != len(axes) or not np.isfinite(scales).all():
        return
    for axis, scale in zip(axes, scales, strict=True):
        made = math.floor(np.float32(shape[axis]) * scale)
        if OPEN not in (shape[axis], inferred[axis]) and made != inferred[axis]:
            what = f"{node.op} of {counted(shape[axis], 'element')} by {scale!s}"
            raise node.unsupported(
                f"{what} makes {inferred[axis]} to ONNX, {made} to ONNX Runtime",
                f"export it with sizes, [{made}] on this axis, instead of scales" + (" (opset 11)" if at == 1 else ""),
            )


def _place_of_scales(node: Node) -> int:
    """Which input they are."""
    return 1 if node.op == "Upsample" or node.opset < 11 else 2


def _repeats(node: Node, shape: Sequence[int], out: Sequence[int], scales: Sequence[float]) -> bool:
    """Whether each element is there several times: of nearest neighbours, and of linear ones of axes of one element."""
    mode = node.text("mode", "nearest")
    alone = all(d == 1 or scale == 1 for d, scale in zip(shape, scales, strict=True))  # 4 elements by 1.1 are 4 others
    if mode != "nearest" and not (mode == "linear" and alone):
        return False
    maps = [_index_map(node, d, o, s) for d, o, s in zip(shape, out, scales, strict=True)]
    return all(
        m is not None and np.array_equal(m, np.repeat(np.arange(d), max(1, o // d)))
        for m, d, o in zip(maps, shape, out, strict=True)
    )


def _resized(context: OnnxContext, node: Node, x: Value) -> tuple[list[int], list[float]]:
    """Output extents and scales of every axis. Scales are input 1 in opset 10, input 2 from 11 on, sizes input 3."""
    at = _place_of_scales(node)
    shape, axes = x.type.shape, [checked_axis(a, x.type.rank, node) for a in node.integers("axes", ())]
    axes = axes or list(range(x.type.rank))
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.unsupported("Resize is not accelerated: it keeps the aspect ratio", "state the sizes")
    out, scales = list(shape), [1.0] * len(shape)
    given = context.known(node, at).reshape(-1).astype(np.float32) if node.has_input(at) else np.zeros(0, np.float32)
    sizes = context.known_ints(node, 3) if at == 2 else []
    listed = sizes or list(given)
    if len(listed) != len(axes):
        raise node.invalid(f"{len(listed)} scales or sizes for {counted(len(axes), 'axis', 'axes')}")
    for axis, number in zip(axes, listed, strict=True):
        out[axis] = int(number) if sizes else math.floor(shape[axis] * float(number))
        scales[axis] = out[axis] / shape[axis] if sizes else float(number)
    if min(out) < 1:
        raise node.invalid(f"{list(shape)} becomes {out}")
    return out, scales


def _index_map(node: Node, size: int, out: int, scale: float) -> NDArray[np.int64] | None:
    """Which input element each output element is; None for transformations that are no such map."""
    if out > 1 << 16 or scale <= 0:
        return None
    o, s = np.arange(out, dtype=np.float32), np.float32(scale)
    default = "asymmetric" if node.op == "Upsample" or node.opset < 11 else "half_pixel"
    half = (o + np.float32(0.5)) / s - np.float32(0.5)
    coordinates = {
        "asymmetric": o / s,
        "half_pixel": half,
        "half_pixel_symmetric": half + np.float32((1 - out / (s * size)) * size / 2),
        "pytorch_half_pixel": half if out > 1 else np.zeros_like(o),
        "align_corners": o * np.float32((size - 1) / (out - 1)) if out > 1 else np.zeros_like(o),
        "tf_half_pixel_for_nn": (o + np.float32(0.5)) / s,
    }.get(node.text("coordinate_transformation_mode", default))
    if coordinates is None:
        return None
    rounded = {
        "round_prefer_floor": np.ceil(coordinates - np.float32(0.5)),
        "round_prefer_ceil": np.floor(coordinates + np.float32(0.5)),
        "floor": np.floor(coordinates),
        "ceil": np.ceil(coordinates),
    }.get(node.text("nearest_mode", "floor" if default == "asymmetric" else "round_prefer_floor"))
    if rounded is None:
        return None
    found: NDArray[np.int64] = np.clip(rounded, 0, size - 1).astype(np.int64)
    return found
