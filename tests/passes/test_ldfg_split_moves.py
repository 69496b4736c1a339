"""Movement and pads that do not fit SRAM, and operators that take splitting along two axes, keep their numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from compile_checks import check_compile
from graph_builder import Builder

from isa.npu import target
from passes.ir.attributes import Kernel
from passes.ir.op import Value
from passes.ops.channels import Softmax
from passes.ops.elementwise import Add, Sum
from passes.ops.matmul import MatMul
from passes.ops.move import Expand, Pad, Reshape, Slice, Transpose
from passes.ops.pool import MaxPool
from passes.options import CompileOptions

NPU = replace(target("warboy"), num_slices=4, sram_bytes_per_slice=4096)  # 16 KiB
SHAPE = (1, 16, 40, 40)  # 25 KiB


def transposed(perm: tuple[int, ...]) -> Callable[[Builder, Value], Value]:
    return lambda b, x: b.op(Transpose, x.type.q, x=x, perm=perm)


def upsampled(b: Builder, x: Value) -> Value:
    n, c, h, w = x.type.shape
    x = b.op(Reshape, x.type.q, x=x, to=(n, c, h, 1, w, 1))
    x = b.op(Expand, x.type.q, x=x, to=(n, c, h, 2, w, 2))
    return b.op(Reshape, x.type.q, x=x, to=(n, c, 2 * h, 2 * w))


def blocks(b: Builder, x: Value) -> Value:
    """Space to depth."""
    n, c, h, w = x.type.shape
    x = b.op(Reshape, x.type.q, x=x, to=(n, c, h // 2, 2, w // 2, 2))
    x = b.op(Transpose, x.type.q, x=x, perm=(0, 3, 5, 1, 2, 4))
    return b.op(Reshape, x.type.q, x=x, to=(n, 4 * c, h // 2, w // 2))


def every_second(b: Builder, x: Value) -> Value:
    n, c, h, w = x.type.shape
    return b.op(Slice, x.type.q, x=x, start=(0, 0, 1, w - 1), size=(n, c, h // 2, w // 2), step=(1, 1, 2, -2))


def padded(b: Builder, x: Value) -> Value:
    return b.op(Pad, x.type.q, x=x, before=(0, 0, 1, 2), after=(0, 0, 3, 0), value=-7)


def summed(b: Builder, x: Value) -> Value:
    return b.op(Sum, x.type.q, inputs=(x, x, x))


def softmax(b: Builder, x: Value) -> Value:
    return b.op(Softmax, x.type.q, x=x, axis=3)


def products(b: Builder, x: Value) -> Value:
    return b.op(MatMul, x.type.q, a=x, b=x)


@pytest.mark.parametrize(
    "made",
    [
        transposed((0, 2, 3, 1)), transposed((0, 1, 3, 2)), transposed((0, 3, 2, 1)), transposed((0, 2, 1, 3)),
        upsampled, blocks, every_second, padded, summed, softmax, products,
    ],
)  # fmt: skip
def test_what_does_not_fit_is_split(made: Callable[[Builder, Value], Value]) -> None:
    builder = Builder(3)
    x = builder.image(SHAPE)
    builder.output(made(builder, x))
    check_compile(builder.done(), CompileOptions(npu=NPU))


@pytest.mark.parametrize("channels", [24, 23])
def test_rows_alone_or_channels_alone_are_not_enough(channels: int) -> None:
    """A row of all channels does not fit 512 B, nor does a channel of all rows: tiles are some rows of one channel."""
    builder = Builder(4)
    x = builder.image((1, channels, 24, 24))
    pooled = builder.op(MaxPool, x.type.q, x=x, kernel=Kernel((3, 3), pads=(1, 1, 1, 1)))
    builder.output(builder.op(Add, x.type.q, a=pooled, b=x))
    check_compile(builder.done(), CompileOptions(npu=replace(NPU, num_slices=2, sram_bytes_per_slice=256)))


def test_rows_of_a_pool_that_rounds_its_columns_up() -> None:
    builder = Builder(5)
    x = builder.image((1, 16, 40, 34))
    builder.output(builder.op(MaxPool, x.type.q, x=x, kernel=Kernel((1, 2), (1, 2), (0, 1, 0, 0)), ceil=True))
    check_compile(builder.done(), CompileOptions(npu=NPU))
