"""Transposes beside the host are its work: the NPU transposes nothing then, and everything comes out as before."""

from __future__ import annotations

from compile_checks import check_compile
from graph_builder import Builder
from hypothesis import event, given, settings
from hypothesis import strategies as st

from isa.npu import target
from passes.ir.types import DType
from passes.ops.move import Reshape, Transpose
from passes.ops.pool import MaxPool
from passes.options import CompileOptions

KINDS = st.sampled_from([DType.F32, DType.U8, DType.I8])
ORDERS = st.permutations([1, 2, 3]).map(lambda axes: (0, *axes))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(KINDS, st.booleans(), ORDERS, ORDERS, st.booleans(), st.sampled_from([(1, None), (2, 2), (4, 1), (4, 2)]))
def test_every_edge_in_every_order(
    kind: DType, real: bool, first: tuple[int, ...], last: tuple[int, ...], flat: bool, batch: tuple[int, int | None]
) -> None:
    b = Builder()
    x = b.image((1, 4, 5, 3), kind=kind)
    y = b.op(Transpose, x.type.q, x=x, perm=first)
    y = b.op(MaxPool, y.type.q, x=y)
    if flat:
        y, last = b.op(Reshape, y.type.q, x=y, to=(1, *y.type.shape[1:2], 60 // y.type.shape[1])), (0, 2, 1)
    y = b.op(Transpose, y.type.q, x=y, perm=last)
    b.output(y, dequantize=real)
    images, together = batch
    enf = check_compile(b.done(), CompileOptions(npu=target("warboy"), batch=images, together=together))
    assert not [operator for operator in enf.operators if operator.name == "LowLevelTranspose"]
    event(f"{kind} in, real values out: {real}, batch {images}")
