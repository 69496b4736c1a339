"""Kernels of ONNX Runtime against the reference: every pair of values, every length, what they refuse."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.execute import numerics, qlinear_binary
from isa.execute.accelerated import AsItIs, item_of
from isa.execute.kernel_graph import KernelGraph
from isa.execute.numerics import BinaryKind, BinaryScales
from isa.execute.parts import Fused
from isa.instructions import Add, AveragePool, Max, MaxPool, Min, Mul
from isa.layout import Layout, LayoutKind, Place, Shape4, whole
from isa.machine import Machine
from isa.npu import target

NPU = target("warboy")
LAYOUT = Layout(LayoutKind.HCHCW, 1, 1)
ROW = whole(Place(0, LAYOUT, Shape4(1, 1, 1, 256)))
SCALE = st.floats(2**-10, 4.0, width=32)
ZERO = st.integers(-128, 127)
BINARY = {"add": Add, "mul": Mul, "max": Max, "min": Min}


@pytest.mark.parametrize("kind", BINARY)
@settings(max_examples=12, deadline=None)
@given(scales=st.tuples(SCALE, SCALE, SCALE), zeros=st.tuples(ZERO, ZERO, ZERO), extra=st.integers(0, 70))
def test_every_pair_of_values_is_as_the_reference_has_it(
    kind: BinaryKind, scales: tuple[float, float, float], zeros: tuple[int, int, int], extra: int
) -> None:
    (sa, sb, sy), (za, zb, zy) = scales, zeros
    shape = Shape4(1, 1, 1, 65_536 + extra)
    x, w, y = (whole(Place(at * 70_000, LAYOUT, shape)) for at in range(3))
    insn = BINARY[kind](a=x, b=w, y=y, sa=sa, sb=sb, sy=sy, za=za, zb=zb, zy=zy, lo=-120)
    item = item_of(insn)
    assert isinstance(item, Fused)
    pairs = np.resize(np.arange(65_536), shape.elements).reshape(shape)
    a, b = ((part - 128).astype(np.int8) for part in (pairs // 256, pairs % 256))
    machine = Machine(NPU, 64)
    machine.write(x, a)
    machine.write(w, b)
    item.run(machine)
    wanted = BinaryScales(sa=sa, sb=sb, sy=sy, za=za, zb=zb, zy=zy, lo=-120)
    assert np.array_equal(machine.read(y), numerics.binary(kind, a, b, wanted))


@pytest.mark.parametrize(
    "scales",
    [
        BinaryScales(sa=0.04618600010871887, za=3, sb=0.01930713839828968, zb=-128, sy=0.027940545231103897, zy=-128),
        BinaryScales(sa=0.21312741935253143, za=-5, sb=0.09059405326843262, zb=-128, sy=0.1513630896806717, zy=-128),
    ],
    ids=["one-ulp", "two-ulps"],
)
def test_a_sum_that_rounds_otherwise_in_one_pair_has_a_neighbour_that_does_not(scales: BinaryScales) -> None:
    insn = Add(a=ROW, b=ROW, y=ROW, sa=scales.sa, za=scales.za, sb=scales.sb, zb=scales.zb, sy=scales.sy, zy=scales.zy)
    part, graph = qlinear_binary.prepare(insn), Mock(KernelGraph)
    assert part is not None
    part.emit(graph, ["a", "b"])
    assert [call.args[0] for call in graph.add.call_args_list] == ["QLinearAdd"]


@pytest.mark.parametrize(
    ("operands", "kernel"),
    [
        ({"kh": 3, "kw": 3, "pt": 1, "pl": 1}, Fused),
        ({"kh": 2, "kw": 2}, Fused),
        ({"kh": 3, "kw": 3, "pt": 3, "pl": 1}, AsItIs),
        ({"kh": 3, "kw": 3, "pt": -1, "pl": 1}, AsItIs),
        ({"kh": 3, "kw": 3, "pt": 1, "pl": 1, "dh": 2, "dw": 2}, AsItIs),
    ],
    ids=["padded", "plain", "padding-alone", "cropped", "dilated"],
)
def test_pools_that_could_see_padding_alone_are_left_as_they_are(operands: dict[str, int], kernel: type) -> None:
    x, y = (whole(Place(offset, LAYOUT, Shape4(1, 4, size, size))) for offset, size in ((0, 8), (4096, 6)))
    assert type(item_of(MaxPool(x=x, y=y, **operands))) is kernel


@pytest.mark.parametrize(
    ("operands", "kernel"),
    [
        ({"kh": 3, "kw": 3}, Fused),
        ({"kh": 2, "kw": 4, "sh": 2, "dw": 2}, Fused),
        ({"kh": 8, "kw": 8}, Fused),
        ({"kh": 3, "kw": 3, "pt": 1, "pl": 1, "padded": 1}, Fused),
        ({"kh": 3, "kw": 3, "pt": 1, "pl": 1}, AsItIs),
        ({"kh": 3, "kw": 3, "pt": -1, "padded": 1}, AsItIs),
        ({"kh": 9, "kw": 9, "pt": 1, "pl": 1, "padded": 1}, AsItIs),
        ({"kh": 3, "kw": 3, "sy": 2.0**-149, "sx": 2.0**100}, AsItIs),
    ],
    ids=["plain", "sliding", "all-of-it", "padded", "of-fewer", "cropped", "larger-than-all", "not-finite"],
)
@settings(max_examples=20, deadline=None)
@given(scales=st.tuples(SCALE, SCALE), zeros=st.tuples(ZERO, ZERO), seed=st.integers(0, 99))
def test_means_of_as_many_elements_are_convolutions(
    operands: dict[str, int | float], kernel: type, scales: tuple[float, float], zeros: tuple[int, int], seed: int
) -> None:
    where: dict[str, Any] = {"sx": scales[0], "sy": scales[1], "zx": zeros[0], "zy": zeros[1], "hi": 100, **operands}
    x = whole(Place(0, LAYOUT, Shape4(2, 5, 8, 8)))
    reach = AveragePool(x=x, y=x, **where)
    rows, columns = (
        (8 + (2 if where.get("padded") else 0) * where.get(pad, 0) - (k - 1) * d - 1) // s + 1
        for k, s, d, pad in ((reach.kh, reach.sh, reach.dh, "pt"), (reach.kw, reach.sw, reach.dw, "pl"))
    )
    y = whole(Place(4096, LAYOUT, Shape4(2, 5, rows, columns)))
    insn = AveragePool(x=x, y=y, **where)
    assert type(item_of(insn)) is kernel
    results = []
    for run in (item_of(insn).run, insn.execute):
        machine = Machine(NPU, 64)
        machine.write(x, np.random.default_rng(seed).integers(-128, 128, x.shape, np.int8))
        with np.errstate(all="ignore"):
            run(machine)
        results.append(machine.read(y))
    assert np.array_equal(results[0], results[1])
