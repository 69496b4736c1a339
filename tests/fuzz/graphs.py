"""Random quantized graphs, and what ONNX Runtime computes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np
import onnx
from qdq_models import Qdq

Step = Callable[[Qdq, Random, str, tuple[int, ...]], tuple[str, tuple[int, ...]]]
MOST = 5000  # elements of a tensor


def random_model(seed: int) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A QDQ model and an input for it."""
    rng = Random(seed)
    m = Qdq(rng.choice(("int8", "uint8")), opset=rng.choice((13, 13, 14, 17)), seed=seed % (1 << 32))
    shape = (rng.choice((1, 1, 1, 2)), rng.choice((1, 2, 3, 4, 8)), rng.randint(1, 12), rng.randint(1, 12))
    made: list[tuple[str, tuple[int, ...]]] = [
        (m.float_input(*shape) if rng.random() < 0.7 else m.integer_input(*shape), shape)
    ]
    for _ in range(rng.randint(1, 6)):
        x, extents = made[-1] if rng.random() < 0.6 else rng.choice(made)
        result = rng.choice(STEPS)(m, rng, x, extents)
        if np.prod(result[1], dtype=np.int64) <= MOST and min(result[1], default=1) > 0:
            made.append(result)
    last = made[-1][0]
    if last not in m.outputs:
        m.output(m.quantized(m.node("Identity", last), *_grid(rng)))
    model = m.model()
    read = {name for node in model.graph.node for name in node.input}
    for unused in [i for i in model.graph.input if i.name not in read]:
        model.graph.input.remove(unused)
    names = {i.name for i in model.graph.input}
    return model, {name: array for name, array in m.feeds().items() if name in names}


def compare(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> None:
    """Raises Wrong where an output is not ONNX Runtime's."""
    from targets import Refused, Wrong

    import furc
    from furc.onnx.oracle import Oracle
    from isa.errors import FurcError

    try:
        enf = furc.compile(model)
    except FurcError as error:
        raise Refused(str(error)) from error
    hosted = {operator.tensor for step in enf.host_steps for operator in step.operators}
    try:
        expected = Oracle(model, hosted).run(feeds)
    except Exception as error:
        raise Refused(f"ONNX Runtime: {error}") from error
    rough = sum(node.op_type in INEXACT for node in model.graph.node)
    for accelerate in (True, False):
        got = furc.Session(enf, accelerate=accelerate).run(feeds)
        for output in model.graph.output:
            name = output.name
            array, wanted = got[name], expected[name]
            if wanted.dtype == np.int8 and array.dtype == np.uint8:
                array = (array ^ np.uint8(128)).view(np.int8)
            if array.shape != wanted.shape or array.dtype != wanted.dtype:
                raise Wrong(f"{name}: {array.dtype}{array.shape}, ONNX Runtime {wanted.dtype}{wanted.shape}")
            if not rough and not np.array_equal(array, wanted):
                raise Wrong(f"{name}: {(array != wanted).mean():.0%} differ, accelerate={accelerate}")


INEXACT = {"Mul", "AveragePool", "ReduceMean", "GlobalAveragePool", "Softmax", "ReduceSum"}  # docs/numerics.md: 1 step


def _grid(rng: Random) -> tuple[float, int]:
    return rng.choice((1 / 32, 0.05, 0.11, 0.3)), rng.randint(-128, 127)


def _conv(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    if len(shape) != 4:
        return x, shape
    n, c, h, w = shape
    group = rng.choice([g for g in range(1, c + 1) if c % g == 0])
    out, kernel = group * rng.choice((1, 2, 3, 5)), [rng.randint(1, min(4, e)) for e in (h, w)]
    strides, dilations = [rng.randint(1, 3) for _ in "hw"], [1 if k == 1 else rng.randint(1, 2) for k in kernel]
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = [rng.randint(0, reach[i % 2] - 1) for i in range(4)]
    size = [(e + pads[i] + pads[i + 2] - reach[i]) // strides[i] + 1 for i, e in enumerate((h, w))]
    if min(size) < 1:
        return x, shape
    weights = m.weights(out, c // group, *kernel, axis=rng.choice((0, None)))
    inputs = [x, weights]
    made = m.node("Conv", *inputs, kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads, group=group)
    if rng.random() < 0.4:
        made = m.node("Relu", made)
    return m.quantized(made, *_grid(rng)), (n, out, *size)


def _pool(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    if len(shape) != 4:
        return x, shape
    kernel = [rng.randint(1, min(3, e)) for e in shape[2:]]
    strides = [rng.randint(1, 3) for _ in "hw"]
    size = [(e - k) // s + 1 for e, k, s in zip(shape[2:], kernel, strides, strict=True)]
    op = rng.choice(("MaxPool", "MaxPool", "AveragePool"))
    made = m.node(op, x, kernel_shape=kernel, strides=strides)
    return (made if op == "MaxPool" else m.quantized(made, *_grid(rng))), (*shape[:2], *size)


def _binary(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    op = rng.choice(("Add", "Add", "Sub", "Mul"))
    if rng.random() < 0.4:
        return m.quantized(m.node(op, x, x), *_grid(rng)), shape
    other = tuple(e if rng.random() < 0.5 else 1 for e in shape)[rng.randint(0, max(0, len(shape) - 1)) :]
    scale, zero = _grid(rng)
    stored = m.const(m.rng.integers(-128, 128, other), np.int8)
    constant = m.node("DequantizeLinear", stored, m.const(scale, np.float32), m.const(zero, np.int8))
    return m.quantized(m.node(op, *rng.sample((x, constant), 2)), *_grid(rng)), shape


def _unary(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    return m.quantized(m.node(rng.choice(("Sigmoid", "Relu", "LeakyRelu", "Tanh", "Exp")), x), *_grid(rng)), shape


def _transpose(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    perm = [0, *rng.sample(range(1, len(shape)), len(shape) - 1)]
    return m.node("Transpose", x, perm=perm), tuple(shape[p] for p in perm)


def _reshape(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    left, rank, to = int(np.prod(shape[1:])), rng.choice((2, 3, 4, 4, 4, 5, 6)), []
    for _ in range(rank - 2):
        to.append(rng.choice([f for f in range(1, left + 1) if left % f == 0]))
        left //= to[-1]
    new = (shape[0], *to, left)
    return m.node("Reshape", x, m.integers(*new)), new


def _slice(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    axis = rng.randint(1, len(shape) - 1)
    start = rng.randint(0, shape[axis] - 1)
    stop, step = rng.randint(start + 1, shape[axis]), rng.randint(1, 2)
    new = list(shape)
    new[axis] = -(-(stop - start) // step)
    return m.node("Slice", x, *(m.integers(v) for v in (start, stop, axis, step))), tuple(new)


def _concat(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    axis = rng.randint(1, len(shape) - 1)
    new = list(shape)
    new[axis] *= 2
    return m.quantized(m.node("Concat", x, x, axis=axis), *_grid(rng)), tuple(new)


def _gemm(m: Qdq, rng: Random, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    features, out = int(np.prod(shape[1:])), rng.choice((1, 5, 16, 40))
    flat = m.node("Reshape", x, m.integers(shape[0], features))
    weights = m.weights(out, features, axis=rng.choice((0, None)))
    return m.quantized(m.node("Gemm", flat, weights, transB=1), *_grid(rng)), (shape[0], out)


STEPS: tuple[Step, ...] = (
    *[_conv] * 3, _pool, *[_binary] * 3, _unary, _transpose, *[_reshape] * 2, _slice, _concat, _gemm,
)  # fmt: skip
