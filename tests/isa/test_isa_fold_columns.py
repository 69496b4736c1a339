"""Convolutions of several output columns at once: the same numbers, where it pays and where it can be done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from isa.execute import fold_columns, numerics
from isa.execute.fold_columns import best_fold
from isa.execute.kernel_form import kernel_form, machine_form
from isa.execute.kernel_graph import KernelGraph, Padded
from isa.execute.numerics import Geometry
from isa.execute.qlinear_conv import Contraction, emit_conv, is_exact

IMAGE = Geometry(kernel=(3, 3), stride=(2, 2), pad_top=1, pad_left=1)


@pytest.mark.skipif(not is_exact(), reason="convolutions do not run on kernels here")
@settings(max_examples=150, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_folded_convolutions_are_the_convolution(data: st.DataObject, seed: int) -> None:
    c, o, images = (data.draw(st.integers(1, top)) for top in (4, 5, 2))
    kernel, stride, dilation = (data.draw(st.tuples(st.integers(1, top), st.integers(1, top))) for top in (4, 3, 2))
    top, left = (data.draw(st.integers(0, 3)) for _ in range(2))
    inner = data.draw(st.integers(0, 2))  # columns of a pad that becomes the convolution's
    out = data.draw(st.sampled_from([2, 4, 6, 8]))
    needed = (out - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1 - left - 2 * inner
    width = needed // (2 * stride[1]) * 2 * stride[1]
    height, right = 4 + kernel[0] * dilation[0], needed - width
    assume(width >= 1)
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (images, c, height, width), np.int8)
    w = rng.integers(-128, 128, (o, c, *kernel), np.int8)
    bias, multiplier = rng.integers(-999, 999, o, np.int32), rng.uniform(1e-4, 1e-3, o).astype(np.float32)
    zx, zw, zy = (int(zero) for zero in rng.integers(-128, 128, 3))
    rows = (height + top - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    geometry = Geometry(kernel=kernel, stride=stride, dilation=dilation, pad_top=top, pad_left=left)

    graph = KernelGraph()
    source = graph.pad(Padded(graph.input(), (0, 0, inner, 0), (0, 0, inner, 0), zx)) if inner else graph.input()
    contraction = Contraction(w, bias, multiplier, zx, zw, zy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold_columns, "GATHERING", 10**9)  # wherever it can be done
        event(f"columns: {getattr(best_fold(w.shape, geometry, left + inner, width, out), 'columns', 1)}")
        y = emit_conv(graph, source, contraction, geometry, (top, left, 0, right), (width + 2 * inner, out))
    [made] = graph.session([y]).run([kernel_form(x)])

    whole = Geometry(kernel=kernel, stride=stride, dilation=dilation, pad_top=top, pad_left=left + inner)
    acc = numerics.contract(x, w, zx, whole, (rows, out), zw=zw) + bias.reshape(1, -1, 1, 1)
    assert np.array_equal(machine_form(made), numerics.requantize(acc, multiplier, zy, -128, 127))


def test_two_columns_of_an_image_are_made_at_once() -> None:
    fold = best_fold((16, 3, 3, 3), IMAGE, 1, 640, 320)
    assert fold is not None and (fold.columns, fold.block, fold.kernel) == (2, 4, 2)


@pytest.mark.parametrize(
    ("channels", "width", "out"),
    [(64, 640, 320), (3, 642, 321), (3, 639, 320), (3, 640, 318)],
    ids=["many-channels", "odd-columns", "odd-input", "too-little-padding"],
)
def test_others_stay_as_they_are(channels: int, width: int, out: int) -> None:
    assert best_fold((16, channels, 3, 3), IMAGE, 1, width, out) is None
