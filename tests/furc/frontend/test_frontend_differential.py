"""Each of the 28 against ONNX Runtime, on shapes, attributes and quantizations that hypothesis makes up.

Examples are few in the usual run; more: `FURC_EXAMPLES=200 pytest tests/furc/frontend/test_frontend_differential.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdq_models import Qdq, imported, runtime

from passes.dfg.legality import ACCELERATED_28

EXAMPLES = int(os.environ.get("FURC_EXAMPLES", "12"))
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 100, suppress_health_check=[*HealthCheck]
)


class Made:
    """A model being drawn: float inputs on drawn grids, constants, and the operator's result on a grid of its range."""

    def __init__(self, draw: st.DataObject) -> None:
        self.pick, self.m = draw.draw, Qdq(draw.draw(st.sampled_from(["int8", "uint8"])), opset=18)
        self.m.rng = np.random.default_rng(self.whole(0, 1 << 16))

    def whole(self, low: int, high: int) -> int:
        return self.pick(st.integers(low, high))

    def one(self, *options: Any) -> Any:
        return self.pick(st.sampled_from(options))

    def shape(self, low: int = 1, high: int = 4, batch: int = 3) -> tuple[int, ...]:
        rank = self.whole(low, high)
        return (self.whole(1, batch), *(self.whole(1, 7) for _ in range(rank - 1)))

    def x(self, *shape: int) -> str:
        return self.m.float_input(*shape, scale=self.one(0.004, 0.02, 0.11), zero=self.whole(-128, 127))

    def ints(self, values: Any) -> str:
        return self.m.integers(*values)

    def real(self, value: float) -> str:
        return self.m.const(value, np.float32)

    def axis(self, shape: tuple[int, ...]) -> int:
        return self.whole(-len(shape), len(shape) - 1)


Drawn = Callable[[Made], list[str]]
OPERATORS: dict[str, Drawn] = {}


def operator(*names: str) -> Callable[[Callable[[Made, str], str | list[str]]], Callable[[Made, str], str | list[str]]]:
    def add(function: Callable[[Made, str], str | list[str]]) -> Callable[[Made, str], str | list[str]]:
        for name in names:
            OPERATORS[name] = partial(_drawn, function, name)
        return function

    return add


def _drawn(function: Callable[[Made, str], str | list[str]], name: str, d: Made) -> list[str]:
    made = function(d, name)
    return [made] if isinstance(made, str) else made


@operator("Add", "Mul", "Mean")
def several(d: Made, op: str) -> str:
    shape = d.shape(1, 5)
    other = tuple(d.one(1, extent) for extent in shape)[d.whole(0, len(shape) - 1) :]
    operands = [d.x(*shape), d.x(*other)] + [d.x(*shape)] * (d.whole(0, 2) if op == "Mean" else 0)
    return d.m.node(op, *(operands if d.one(True, False) else operands[::-1]))


@operator("Exp", "Sigmoid", "Softplus", "Relu")
def unary(d: Made, op: str) -> str:
    return d.m.node(op, d.x(*d.shape()))


@operator("Clip")
def clip(d: Made, op: str) -> str:
    low = d.one(-1.0, 0.0, -0.37)
    return d.m.node(op, d.x(*d.shape()), d.real(low), d.real(low + d.one(0.5, 6.0)))


def window(d: Made, axes: int) -> tuple[list[int], dict[str, Any]]:
    """A kernel no larger than 4, pads smaller than it: it fits extents of at least 5."""
    kernel = [d.whole(1, 3) for _ in range(axes)]
    dilation = [d.one(1, 1, 2) for _ in range(axes)]
    pads = [d.whole(0, k - 1) for k in kernel] + [d.whole(0, k - 1) for k in kernel]
    stride = [d.whole(1, 3) for _ in range(axes)]
    same = {  # ONNX Runtime refuses strides that would make padding negative
        "auto_pad": d.one("SAME_UPPER", "SAME_LOWER"), "dilations": [1] * axes,
        "strides": list(map(min, stride, kernel)),
    }  # fmt: skip
    more: dict[str, Any] = {"strides": stride, "dilations": dilation}
    more |= d.one({"pads": pads}, same, {"auto_pad": "VALID"})
    return kernel, more


@operator("AveragePool", "MaxPool")
def pools(d: Made, op: str) -> str:
    axes = d.one(1, 2, 2) if op == "AveragePool" else d.one(1, 2, 3)
    kernel, more = window(d, axes)
    extra: dict[str, Any] = {"ceil_mode": d.whole(0, 1)} if "auto_pad" not in more else {}
    if op == "AveragePool":
        del more["dilations"]  # from opset 19 on
        extra |= {"count_include_pad": d.whole(0, 1)} if not extra.get("ceil_mode") else {}
    shape = (d.whole(1, 2), d.whole(1, 5), *(d.whole(6, 9) for _ in range(axes)))
    return d.m.node(op, d.x(*shape), kernel_shape=kernel, **more, **extra)


@operator("Conv")
def conv(d: Made, op: str) -> str:
    axes, group = d.one(1, 2, 2, 3), d.one(1, 1, 2, 3)
    kernel, more = window(d, axes)
    cin, cout = group * d.whole(1, 4), group * d.whole(1, 4)
    x = d.x(d.whole(1, 2), cin, *(d.whole(6, 9) for _ in range(axes)))
    w = d.m.weights(cout, cin // group, *kernel, axis=d.one(0, None))
    return d.m.node(op, x, w, group=group, **more)


@operator("ConvTranspose")
def conv_transpose(d: Made, op: str) -> str:
    axes, group = d.one(1, 2, 2), d.one(1, 1, 2)
    kernel, stride = [d.whole(1, 4) for _ in range(axes)], [d.whole(1, 3) for _ in range(axes)]
    cin, cout = group * d.whole(1, 4), d.whole(1, 4)
    x = d.x(d.whole(1, 2), cin, *(d.whole(3, 6) for _ in range(axes)))
    w = d.m.weights(cin, cout, *kernel, axis=None if group > 1 else d.one(1, None))
    return d.m.node(
        op, x, w, group=group, strides=stride, pads=[d.whole(0, (k - 1) // 2) for k in kernel] * 2,
        output_padding=[d.whole(0, s - 1) for s in stride],
    )  # fmt: skip


@operator("Gemm")
def gemm(d: Made, op: str) -> str:
    rows, inner, out = d.one(1, 4, 40), d.whole(1, 20), d.whole(1, 9)
    turn, flip = d.whole(0, 1), d.whole(0, 1)
    x = d.x(inner, rows) if turn else d.x(rows, inner)
    w = d.m.weights(*((out, inner) if flip else (inner, out)), axis=None)
    return d.m.node(op, x, w, d.m.const(d.m.rng.normal(0, 0.3, out), np.float32), transA=turn, transB=flip,
                    alpha=d.one(1.0, 0.5), beta=d.one(1.0, 2.0))  # fmt: skip


@operator("MatMul")
def matmul(d: Made, op: str) -> str:
    rows, inner, columns = d.whole(1, 6), d.whole(1, 12), d.whole(1, 6)
    batch = tuple(d.whole(1, 3) for _ in range(d.whole(0, 3)))
    other = tuple(d.one(1, extent) for extent in batch)[d.whole(0, len(batch)) :]
    x = d.x(*batch, rows, inner)
    if d.one(True, False, False):
        return d.m.node(op, x, d.m.weights(inner, columns, axis=None))
    return d.m.node(op, x, d.x(*other, inner, columns))


@operator("Concat")
def concat(d: Made, op: str) -> str:
    shape, parts = d.shape(1, 5), d.whole(2, 3)
    axis = d.axis(shape)
    shapes = [[*shape] for _ in range(parts)]
    for part in shapes:
        part[axis] = d.whole(1, 4)
    return d.m.node(op, *(d.x(*part) for part in shapes), axis=axis)


@operator("DepthToSpace")
def depth_to_space(d: Made, op: str) -> str:
    block = d.whole(1, 3)
    x = d.x(d.whole(1, 2), block * block * d.whole(1, 3), d.whole(1, 4), d.whole(1, 4))
    return d.m.node(op, x, blocksize=block, mode=d.one("DCR", "CRD"))


@operator("Expand")
def expand(d: Made, op: str) -> str:
    shape = d.shape(1, 5)
    have = tuple(d.one(1, extent) for extent in shape)[d.whole(0, len(shape) - 1) :]
    return d.m.node(op, d.x(*have), d.ints(shape))


@operator("Flatten")
def flatten(d: Made, op: str) -> str:
    shape = d.shape()
    return d.m.node(op, d.x(*shape), axis=d.whole(-len(shape), len(shape)))


@operator("Reshape")
def reshape(d: Made, op: str) -> str:
    shape = d.shape(2, 4)
    return d.m.node(op, d.x(*shape), d.ints(d.one((-1,), (0, -1), (*shape[::-1],), (1, -1, 1))))


@operator("Unsqueeze")
def unsqueeze(d: Made, op: str) -> str:
    return d.m.node(op, d.x(*d.shape(1, 3)), d.ints(d.one((0,), (-1,), (0, 2), (1, -1))))


@operator("Transpose")
def transpose(d: Made, op: str) -> str:
    shape = d.shape(2, 5)
    return d.m.node(op, d.x(*shape), perm=d.pick(st.permutations(range(len(shape)))))


@operator("Slice")
def slice_(d: Made, op: str) -> str:
    shape = d.shape(1, 4)
    axis = d.axis(shape)
    extent, step = shape[axis], d.one(1, 2, -1, -2)
    start = d.whole(0, extent - 1)
    end = d.whole(start + 1, extent + 2) if step > 0 else d.whole(-1, start - 1)
    end = -extent - 5 if end == -1 else end
    start = start - extent if d.one(True, False) else start
    return d.m.node(op, d.x(*shape), *(d.ints([v]) for v in (start, end, axis, step)))


@operator("Split")
def split(d: Made, op: str) -> list[str]:
    shape = list(d.shape(1, 4))
    axis, sizes = d.axis(tuple(shape)), [d.whole(1, 4) for _ in range(d.whole(2, 3))]
    shape[axis] = sum(sizes)
    return d.m.several(op, len(sizes), d.x(*shape), d.ints(sizes), axis=axis)


@operator("Pad")
def pad(d: Made, op: str) -> str:
    shape = d.shape(1, 5)
    amounts = [d.whole(0, 3) for _ in range(2 * len(shape))]
    return d.m.node(op, d.x(*shape), d.ints(amounts), d.real(d.one(0.0, 0.5)))


@operator("ReduceSum", "ReduceL2")
def reduce(d: Made, op: str) -> str:
    shape = d.shape(1, 5)
    axes = sorted(d.pick(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    axes = [a - len(shape) if d.one(True, False) else a for a in axes]
    return d.m.node(op, d.x(*shape), d.ints(axes), keepdims=d.whole(0, 1))


@operator("Softmax")
def softmax(d: Made, op: str) -> str:
    shape = d.shape(1, 5, batch=2)
    return d.m.node(op, d.x(*shape), axis=d.axis(shape))


@operator("LpNormalization")
def lp_normalization(d: Made, op: str) -> str:
    shape = d.shape(1, 4, batch=2)
    return d.m.node(op, d.x(*shape), axis=d.axis(shape), p=2)


def test_each_of_the_28_is_drawn() -> None:
    assert sorted(OPERATORS) == sorted(ACCELERATED_28)


@pytest.mark.parametrize("op", sorted(OPERATORS))
@SETTINGS
@given(data=st.data())
def test_within_one_step_of_onnx_runtime(op: str, data: st.DataObject) -> None:
    d = Made(data)
    for made in OPERATORS[op](d):
        d.m.quantized(made, d.one(0.01, 0.05, 0.3), d.whole(-128, 127))
    model, feeds = d.m.model(), d.m.feeds()
    expected = runtime(model, feeds, optimized=False)
    _, got = imported(model, feeds)
    for name, array in expected.items():
        assert got[name].shape == array.shape, name
        difference = np.abs(got[name].astype(int) - array.astype(int))
        assert difference.max(initial=0) <= 1, f"{name}: {difference.max()}"
