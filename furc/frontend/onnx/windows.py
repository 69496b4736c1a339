"""How a kernel slides, read from an ONNX node: strides, dilations, explicit pads or auto_pad, in one or two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from furc.frontend.dfg_builder import Builder
from furc.frontend.onnx.node import Node
from isa.errors import counted
from passes.dfg.legality import MAX_STRIDE, SPATIAL, too_many_axes
from passes.ir.attributes import Kernel, Pair
from passes.ir.op import Value

STATE_PADS = "state the pads as numbers instead of auto_pad"
AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def lifted(builder: Builder, node: Node, x: Value) -> Value:
    """x as [n, c, h, w]: [n, c, w] gets a height of 1. Raises LowerError for more axes."""
    shape = x.type.shape
    if len(shape) == 4:
        return x
    if len(shape) == 3:
        return builder.reshape(x, (shape[0], shape[1], 1, shape[2]), f"{x.name}.lifted", node.loc)
    if len(shape) < 3:
        raise node.invalid(f"its input is {list(shape)}")
    problem = too_many_axes(node.op, len(shape) - 2)
    assert problem is not None, "volumes that run have been taken care of"
    raise node.unsupported(problem, SPATIAL.remedy)


def lowered_shape(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    """[n, c, h, w] as the model sees it: without the height that `lifted` gave it."""
    return tuple(shape) if rank == 4 else (shape[0], shape[1], shape[3])


def read_window(node: Node, spatial: Sequence[int], kernel: Sequence[int]) -> Kernel:
    """spatial, kernel: extents in the model's own number of axes."""
    stride, dilation, pads = _sliding(node, spatial, kernel)
    before, after = _pair(pads[: len(kernel)], 0), _pair(pads[len(kernel) :], 0)
    window = Kernel(_pair(kernel, 1), _pair(stride, 1), (*before, *after), _pair(dilation, 1))
    return _without_steps(window, _pair(spatial, 1), ceil=bool(node.integer("ceil_mode", 0)))


def read_windows(node: Node, spatial: Sequence[int], kernel: Sequence[int]) -> tuple[Kernel, Kernel]:
    """How a kernel over three axes slides over the first, as rows, and over the other two."""
    stride, dilation, pads = _sliding(node, spatial, kernel)
    depth = Kernel((kernel[0], 1), (stride[0], 1), (pads[0], 0, pads[3], 0), (dilation[0], 1))
    plane = Kernel(
        (kernel[1], kernel[2]), (stride[1], stride[2]), (pads[1], pads[2], pads[4], pads[5]), (dilation[1], dilation[2])
    )
    return depth, plane


def _sliding(node: Node, spatial: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations, and pads before, then after."""
    axes = len(spatial)
    if len(kernel) != axes:
        raise node.invalid(f"a kernel of {list(kernel)} over {counted(axes, 'axis', 'axes')}")
    stride, dilation = node.integers("strides", [1] * axes), node.integers("dilations", [1] * axes)
    if min((*stride, *dilation, *kernel)) < 1:
        raise node.invalid(f"kernel {list(kernel)}, strides {stride} and dilations {dilation} must be positive")
    pads = auto_pads(node, spatial, kernel, stride, dilation)
    return stride, dilation, node.integers("pads", [0] * 2 * axes) if pads is None else pads


def _without_steps(window: Kernel, spatial: Pair, *, ceil: bool) -> Kernel:
    """Where a window as large as its input stands once, its stride is never taken: exporters write pools over whole
    rows so, with strides that the machine may not have."""
    (h, w), (top, left, bottom, right) = spatial, window.pads
    rows = 1 if window.stride[0] > MAX_STRIDE and h + top + bottom == window.reach[0] + 1 else window.stride[0]
    columns = 1 if window.stride[1] > MAX_STRIDE and w + left + right == window.reach[1] + 1 else window.stride[1]
    same = replace(window, stride=(rows, columns))
    return same if same.slides(h, w, ceil=ceil) == window.slides(h, w, ceil=ceil) else window


def auto_pads(
    node: Node, spatial: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int] | None:
    """Pads that auto_pad asks for, before then after; None where the node states them itself."""
    mode = auto_pad(node)
    if mode == "NOTSET":
        return None
    if mode == "VALID":
        return [0] * 2 * len(spatial)
    total = [
        (-(-size // s) - 1) * s + (k - 1) * d + 1 - size
        for size, k, s, d in zip(spatial, kernel, stride, dilation, strict=True)
    ]
    if min(total, default=0) < -1:  # seen with ONNX Runtime 1.32: it crops, but not where both sides lose as much
        message = f"auto_pad {mode} with kernel {list(kernel)} and strides {list(stride)} would pad by {total}"
        raise node.unsupported(f"{message}, which runtimes understand differently", STATE_PADS)
    if node.op != "Conv" and max(dilation) > 1:  # and its pools leave dilations out
        raise node.unsupported(f"{node.op} with auto_pad {mode} and dilations {list(dilation)}", STATE_PADS)
    total = [max(t, 0) for t in total]  # what is one too many lies behind the last window
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return less + more if mode == "SAME_UPPER" else more + less


def auto_pad(node: Node) -> str:
    """One of AUTO_PADS. Raises SourceError InvalidGraph for another."""
    mode = node.text("auto_pad", "NOTSET")
    if mode not in AUTO_PADS:
        raise node.invalid(f"auto_pad is '{mode}', expected one of {', '.join(AUTO_PADS)}")
    return mode


def _pair(values: Sequence[int], missing: int) -> Pair:
    return (values[0], values[1]) if len(values) == 2 else (missing, values[0])
