"""The gradient of each operator with respect to its activations."""

from __future__ import annotations

import math

import numpy as np

from furc.onnx.graph import Array, Float32, Node
from furc.quantizer.observe.float_run import NodeRun
from furc.quantizer.sensitivity.tape import Rule, Tape

SMALLEST = 1e-6  # by which a gradient is divided
STEP = 1e-2  # of the difference quotient of smooth functions of one number; float32 loses half its digits at less
EXACT_INTEGERS = 1 << 24  # that float32 counts to


def _conv(tape: Tape, node: Node, g: str) -> None:
    weight = tape.graph.constants.get(node.input(1))
    if weight is None:
        raise LookupError(node.input(1))
    _through_conv(tape, node, g, weight)


def _through_conv(tape: Tape, node: Node, g: str, weight: Array) -> None:
    """Weights turned around convolve the gradient; where a stride skipped positions, ConvTranspose fills them."""
    spatial = weight.ndim - 2
    strides, dilations = node.get("strides", [1] * spatial), node.get("dilations", [1] * spatial)
    pads = _pads(tape, node, weight.shape[2:], strides, dilations)
    group = int(node.get("group", 1))
    reach = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
    given = [r - p for r, p in zip(reach * 2, pads, strict=True)]
    if set(strides) == {1} and min(given) >= 0:
        turned = _turned(weight, group)
        tape.give(
            node.input(0), tape.op("Conv", g, tape.constant(turned), group=group, dilations=dilations, pads=given)
        )
        return
    have, out = tape.shape(node.input(0))[2:], tape.shape(node.output)[2:]
    ends = [h - ((o - 1) * s + r + 1 - low - high) for h, o, s, r, low, high in
            zip(have, out, strides, reach, pads[:spatial], pads[spatial:], strict=True)]  # fmt: skip
    if min(ends) < 0:
        raise LookupError(node.output)
    tape.give(node.input(0), tape.op("ConvTranspose", g, tape.constant(weight), group=group, strides=strides,
                                     dilations=dilations, pads=pads, output_padding=ends))  # fmt: skip


def _turned(weight: Array, group: int) -> Array:
    """[outputs, inputs a group, ...] -> [inputs, outputs a group, ...], each kernel upside down."""
    outputs, inputs, *kernel = weight.shape
    apart = weight.reshape(group, outputs // group, inputs, *kernel).swapaxes(1, 2)
    upside = np.flip(apart, tuple(range(3, apart.ndim)))
    return np.ascontiguousarray(upside.reshape(group * inputs, outputs // group, *kernel))


def _pads(tape: Tape, node: Node, kernel: tuple[int, ...], strides: list[int], dilations: list[int]) -> list[int]:
    """Rows and columns of zeros before and behind each axis, also where auto_pad says them."""
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        return list(node.get("pads", [0] * (2 * len(kernel)))) if mode == "NOTSET" else [0] * (2 * len(kernel))
    have, out = tape.shape(node.input(0))[2:], tape.shape(node.output)[2:]
    total = [max(0, (o - 1) * s + d * (k - 1) + 1 - h)
             for h, o, s, d, k in zip(have, out, strides, dilations, kernel, strict=True)]  # fmt: skip
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return less + more if mode == "SAME_UPPER" else more + less


def _conv_transpose(tape: Tape, node: Node, g: str) -> None:
    weight = tape.graph.constants.get(node.input(1))
    if weight is None or node.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        raise LookupError(node.output)
    same = {name: node.get(name) for name in ("group", "strides", "dilations", "pads") if name in node.attributes}
    result = tape.op("Conv", g, tape.constant(weight), **same)
    have = tape.shape(node.input(0))
    starts, axes = [0] * (len(have) - 2), list(range(2, len(have)))
    tape.give(node.input(0), tape.op("Slice", result, *(tape.integers(v) for v in (starts, have[2:], axes))))


def _gemm(tape: Tape, node: Node, g: str) -> None:
    if node.get("transA", 0):
        raise LookupError(node.output)
    scaled = tape.op("Mul", g, tape.number(node.get("alpha", 1.0)))
    tape.give(node.input(0), tape.op("Gemm", scaled, node.input(1), transB=int(not node.get("transB", 0))))


def _matmul(tape: Tape, node: Node, g: str) -> None:
    a, b = node.inputs
    first, second, shape = tape.shape(a), tape.shape(b), tape.shape(node.output)
    if min(len(first), len(second)) < 2:
        raise LookupError(node.output)
    to_a = tape.op("MatMul", g, tape.op("Transpose", b, perm=_last_two(len(second))))
    tape.give(a, tape.reduced(to_a, (*shape[:-1], first[-1]), first))
    if b not in tape.graph.constants:
        to_b = tape.op("MatMul", tape.op("Transpose", a, perm=_last_two(len(first))), g)
        tape.give(b, tape.reduced(to_b, (*shape[:-2], *second[-2:]), second))


def _last_two(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _add(tape: Tape, node: Node, g: str) -> None:
    shape = tape.shape(node.output)
    for name in node.inputs:
        tape.give(name, tape.reduced(g, shape, tape.shape(name)))


def _mean_of_several(tape: Tape, node: Node, g: str) -> None:
    _add(tape, node, tape.op("Mul", g, tape.number(1 / len(node.inputs))))


def _sub(tape: Tape, node: Node, g: str) -> None:
    shape = tape.shape(node.output)
    tape.give(node.inputs[0], tape.reduced(g, shape, tape.shape(node.inputs[0])))
    tape.give(node.inputs[1], tape.reduced(tape.op("Neg", g), shape, tape.shape(node.inputs[1])))


def _mul(tape: Tape, node: Node, g: str) -> None:
    shape, (a, b) = tape.shape(node.output), node.inputs
    if _is_silu(tape, node):
        return _silu(tape, node, g)
    tape.give(a, tape.reduced(tape.op("Mul", g, b), shape, tape.shape(a)))
    if b not in tape.graph.constants:
        tape.give(b, tape.reduced(tape.op("Mul", g, a), shape, tape.shape(b)))


def _is_silu(tape: Tape, node: Node) -> bool:
    """x * Sigmoid(x), whose Sigmoid nothing else reads."""
    x, gate = node.inputs
    maker = tape.graph.producer(gate)
    alone = tape.graph.only_reader(gate) is node and gate not in tape.made
    return maker is not None and maker.op == "Sigmoid" and maker.inputs[0] == x and alone


def _silu(tape: Tape, node: Node, g: str) -> None:
    """Sigmoid + result * (1 - Sigmoid): half the work of the two rules, and SiLU networks are full of it."""
    x, gate = node.inputs
    rest = tape.op("Mul", node.output, tape.op("Sub", tape.number(1.0), gate))
    tape.give(x, tape.op("Mul", g, tape.op("Add", gate, rest)))


def _div(tape: Tape, node: Node, g: str) -> None:
    shape, (a, b) = tape.shape(node.output), node.inputs
    share = tape.op("Div", g, b)
    tape.give(a, tape.reduced(share, shape, tape.shape(a)))
    if b not in tape.graph.constants:
        product = tape.op("Neg", tape.op("Mul", share, node.output))
        tape.give(b, tape.reduced(product, shape, tape.shape(b)))


def _where_equal(tape: Tape, node: Node, g: str) -> None:
    """Relu, Clip, Max and Min: the gradient goes where the result is the operand."""
    shape = tape.shape(node.output)
    for name in node.inputs:
        if name and name not in tape.graph.constants and tape.graph.is_float(name):
            same = tape.op("Cast", tape.op("Equal", name, node.output), to=1)
            tape.give(name, tape.reduced(tape.op("Mul", g, same), shape, tape.shape(name)))


def _sigmoid(tape: Tape, node: Node, g: str) -> None:
    y = node.output
    slope = tape.op("Mul", y, tape.op("Sub", tape.number(1.0), y))
    tape.give(node.input(0), tape.op("Mul", g, slope))


def _of_one_number(tape: Tape, node: Node, g: str) -> None:
    """Any other function of one number: its difference quotient."""
    ends = []
    for step in (STEP, -STEP):
        moved = tape.op("Add", node.input(0), tape.number(step))
        ends.append(tape.op(node.op, moved, *node.inputs[1:], **{name: node.get(name) for name in node.attributes}))
    slope = tape.op("Mul", tape.op("Sub", *ends), tape.number(0.5 / STEP))
    tape.give(node.input(0), tape.op("Mul", g, slope))


def _steep(tape: Tape, node: Node, g: str) -> None:
    """Log, Sqrt, Reciprocal and Pow, which a fixed step would throw off near 0."""
    x, y = node.input(0), node.output
    match node.op:
        case "Log":
            result = tape.op("Div", g, x)
        case "Sqrt":
            slope = tape.op("Div", tape.op("Sign", y), tape.op("Max", y, tape.number(SMALLEST)))  # of 0 there is none
            result = tape.op("Mul", g, tape.op("Mul", slope, tape.number(0.5)))
        case "Reciprocal":
            result = tape.op("Neg", tape.op("Mul", g, tape.op("Mul", y, y)))
        case "Neg":
            result = tape.op("Neg", g)
        case "Exp":
            result = tape.op("Mul", g, y)
        case _:
            power = tape.op("Cast", node.input(1), to=1)
            less = tape.op("Sub", power, tape.number(1.0))
            result = tape.op(
                "Mul", g, tape.op("Mul", power, tape.op("Pow", x, less))
            )  # y / x would be 0 / 0 behind a Relu
    tape.give(x, result)


def _softmax(tape: Tape, node: Node, g: str) -> None:
    y, rank = node.output, len(tape.shape(node.output))
    axes = tape.integers([int(node.get("axis", -1)) % rank])
    mean = tape.op("ReduceSum", tape.op("Mul", g, y), axes, keepdims=1)
    tape.give(node.input(0), tape.op("Mul", y, tape.op("Sub", g, mean)))


def _l2_normalize(tape: Tape, node: Node, g: str) -> None:
    """What is along the vector moves nothing; a vector of zeros stays one."""
    x, y, rank = node.input(0), node.output, len(tape.shape(node.output))
    axes = tape.integers([int(node.get("axis", -1)) % rank])
    along = tape.op("ReduceSum", tape.op("Mul", g, y), axes, keepdims=1)
    length = tape.op("Sqrt", tape.op("ReduceSum", tape.op("Mul", x, x), axes, keepdims=1))
    across = tape.op("Mul", tape.op("Sub", g, tape.op("Mul", y, along)), tape.op("Sign", length))
    tape.give(x, tape.op("Div", across, tape.op("Max", length, tape.number(SMALLEST))))


def _batchnorm(tape: Tape, node: Node, g: str) -> None:
    scale, variance = tape.graph.constants[node.input(1)], tape.graph.constants[node.input(4)]
    factor = scale / np.sqrt(variance + np.float32(node.get("epsilon", 1e-5)))
    shaped = factor.reshape(-1, *[1] * (len(tape.shape(node.output)) - 2))
    tape.give(node.input(0), tape.op("Mul", g, tape.constant(shaped.astype(np.float32))))


def _instance_norm(tape: Tape, node: Node, g: str) -> None:
    rank = len(tape.shape(node.input(0)))
    scale = tape.graph.constants[node.input(1)].reshape(-1, *[1] * (rank - 2))
    _normalized(tape, node, tape.op("Mul", g, tape.constant(scale)), range(2, rank))


def _layer_norm(tape: Tape, node: Node, g: str) -> None:
    rank = len(tape.shape(node.input(0)))
    scaled = tape.op("Mul", g, tape.constant(tape.graph.constants[node.input(1)]))
    _normalized(tape, node, scaled, range(int(node.get("axis", -1)) % rank, rank))


def _normalized(tape: Tape, node: Node, g: str, along: range) -> None:
    """Of x less its mean, over its deviation: what moves either of them is taken out. g: of that quotient."""
    x, shape = node.input(0), tape.shape(node.input(0))
    axes, share = tape.integers(along), tape.number(1 / math.prod(shape[axis] for axis in along))

    def mean(of: str) -> str:
        return tape.op("Mul", tape.op("ReduceSum", of, axes, keepdims=1), share)

    off = tape.op("Sub", x, mean(x))
    variance = tape.op("Add", mean(tape.op("Mul", off, off)), tape.number(node.get("epsilon", 1e-5)))
    deviation = tape.op("Sqrt", variance)
    made = tape.op("Div", off, deviation)
    moved = tape.op("Mul", made, mean(tape.op("Mul", g, made)))
    tape.give(x, tape.op("Div", tape.op("Sub", tape.op("Sub", g, mean(g)), moved), deviation))


def _average_pool(tape: Tape, node: Node, g: str) -> None:
    """A depthwise convolution by 1 / window; that windows at an edge may count fewer is left aside."""
    channels, kernel = tape.shape(node.input(0))[1], node.get("kernel_shape")
    weight = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
    pool = Node("Conv", node.inputs, node.outputs, "", "", dict(node.attributes))
    pool.set(group=channels)
    _through_conv(tape, pool, g, weight)


def _mean(tape: Tape, node: Node, g: str) -> None:
    """GlobalAveragePool, ReduceMean and ReduceSum: every value gets its share."""
    shape, out = tape.shape(node.input(0)), tape.shape(node.output)
    count = 1.0 if node.op == "ReduceSum" else math.prod(shape) / math.prod(out)
    axes = range(2, len(shape)) if node.op == "GlobalAveragePool" else _axes(tape, node, len(shape))
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    share = tape.op("Reshape", tape.op("Mul", g, tape.number(1 / count)), tape.integers(kept))
    tape.give(node.input(0), tape.op("Expand", share, tape.integers(shape)))


def _length(tape: Tape, node: Node, g: str) -> None:
    """ReduceL2: along the vector, whose direction is x / y; that of a vector of zeros has none."""
    x, shape = node.input(0), tape.shape(node.input(0))
    axes = _axes(tape, node, len(shape))
    kept = tape.integers([1 if axis in axes else size for axis, size in enumerate(shape)])
    share = tape.op("Reshape", tape.op("Div", g, tape.op("Max", node.output, tape.number(SMALLEST))), kept)
    tape.give(x, tape.op("Mul", x, share))


def _axes(tape: Tape, node: Node, rank: int) -> list[int]:
    found = tape.graph.constants.get(node.input(1))
    axes = node.get("axes") if found is None else found.tolist()
    return [axis % rank for axis in axes] if axes is not None else list(range(rank))


def _reshape(tape: Tape, node: Node, g: str) -> None:
    tape.give(node.input(0), tape.op("Reshape", g, tape.integers(tape.shape(node.input(0)))))


def _transpose(tape: Tape, node: Node, g: str) -> None:
    rank = len(tape.shape(node.input(0)))
    perm = node.get("perm", list(range(rank))[::-1])
    tape.give(node.input(0), tape.op("Transpose", g, perm=np.argsort(perm).tolist()))


def _concat(tape: Tape, node: Node, g: str) -> None:
    start, rank = 0, len(tape.shape(node.output))
    axis = int(node.get("axis")) % rank
    for name in node.inputs:
        end = start + tape.shape(name)[axis]
        tape.give(name, tape.op("Slice", g, *(tape.integers([v]) for v in (start, end, axis))))
        start = end


def _max_pool(tape: Tape, node: Node, g: str) -> None:
    """Each gradient goes to the place that its maximum came from; overlapping windows add up."""
    where = f"MaxPool/backward{len(tape.new)}/where"
    tape.op("MaxPool", node.input(0), **{name: node.get(name) for name in node.attributes})
    tape.new[-1].outputs.append(where)
    _scatter(tape, node, g, tape.op("Reshape", where, tape.integers([-1])), first=0)


def _move(tape: Tape, node: Node, g: str) -> None:
    """Any movement of data: run once on the numbers of the places, it tells where each value came from."""
    size = math.prod(tape.shape(node.input(0)))
    if size >= EXACT_INTEGERS:
        raise LookupError(node.output)
    places = np.arange(1, size + 1, dtype=np.float32).reshape(tape.shape(node.input(0)))
    moved = NodeRun(tape.graph, node)(places)
    _scatter(tape, node, g, tape.constant(np.rint(moved).astype(np.int64).reshape(-1)), first=1)


def _scatter(tape: Tape, node: Node, g: str, where: str, first: int) -> None:
    """first: what place 0 is called; what points below it is padding."""
    shape = tape.shape(node.input(0))
    size = math.prod(shape)
    zeros: Float32 = np.zeros(size + first, np.float32)
    flat = tape.op("Reshape", g, tape.integers([-1]))
    added = tape.op("ScatterElements", tape.constant(zeros), where, flat, axis=0, reduction="add")
    if first:
        added = tape.op("Slice", added, tape.integers([first]), tape.integers([size + first]))
    tape.give(node.input(0), tape.op("Reshape", added, tape.integers(shape)))


def _resize(tape: Tape, node: Node, g: str) -> None:
    """Nearest is a movement; others are taken as what brings the gradient back to the old size."""
    shape, out = tape.shape(node.input(0)), tape.shape(node.output)
    if node.get("mode", "nearest") == "nearest":
        return _repeated(tape, node, g) if _repeats(tape, node) else _move(tape, node, g)
    back = tape.op("Resize", g, "", "", tape.integers(shape), mode="linear")
    ratio = math.prod(out) / math.prod(shape)
    tape.give(node.input(0), tape.op("Mul", back, tape.number(ratio)))


def _repeats(tape: Tape, node: Node) -> bool:
    """Whether every row and column is repeated so many times."""
    shape, out = tape.shape(node.input(0)), tape.shape(node.output)
    if len(shape) != 4 or any(o % s for o, s in zip(out, shape, strict=True)) or shape[:2] != out[:2]:
        return False
    rows = np.arange(shape[2] * shape[3], dtype=np.float32).reshape(1, 1, *shape[2:])
    small = np.broadcast_to(rows, shape).copy()
    wanted = rows.repeat(out[2] // shape[2], 2).repeat(out[3] // shape[3], 3)
    return bool((NodeRun(tape.graph, node)(small)[:1, :1] == wanted).all())


def _repeated(tape: Tape, node: Node, g: str) -> None:
    shape, out = tape.shape(node.input(0)), tape.shape(node.output)
    apart = (*shape[:3], out[2] // shape[2], shape[3], out[3] // shape[3])
    summed = tape.op("ReduceSum", tape.op("Reshape", g, tape.integers(apart)), tape.integers([3, 5]), keepdims=0)
    tape.give(node.input(0), summed)


RULES: dict[str, Rule] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul, "Add": _add, "Sum": _add,
    "Mean": _mean_of_several, "ReduceL2": _length,
    "Sub": _sub, "Mul": _mul, "Div": _div, "Sigmoid": _sigmoid, "Softmax": _softmax, "Concat": _concat,
    "LpNormalization": _l2_normalize, "InstanceNormalization": _instance_norm, "LayerNormalization": _layer_norm,
    "BatchNormalization": _batchnorm, "AveragePool": _average_pool, "MaxPool": _max_pool, "Resize": _resize,
    **dict.fromkeys(("Relu", "Clip", "Max", "Min"), _where_equal),
    **dict.fromkeys(("LeakyRelu", "PRelu", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Softplus",
                     "Softsign", "Mish", "Gelu", "Erf", "Abs"), _of_one_number),
    **dict.fromkeys(("Log", "Sqrt", "Reciprocal", "Neg", "Exp", "Pow"), _steep),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean", "ReduceSum"), _mean),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"), _reshape),
    "Transpose": _transpose,
    **dict.fromkeys(("Slice", "Pad", "Gather", "Tile", "Expand", "DepthToSpace", "SpaceToDepth"), _move),
}  # fmt: skip
