"""What turns out not to fit while it is compiled goes to the host, with the error as its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from qdq_models import Qdq, runtime

import furc
from furc.build import build, lower
from furc.frontend.fitting import fitted
from furc.inspection import inspect
from furc.request import Request
from furc.verify import verify
from isa.errors import Loc, LowerError
from isa.npu import load_config
from passes.ir.lir import Program


def softmax(m: Qdq) -> object:
    x = m.quantized(m.node("Mul", m.float_input(1, 60000), m.const(0.5, np.float32)))
    return m.quantized(m.node("Softmax", x, axis=1), 1 / 256, -128)


def convolution(m: Qdq) -> object:
    return m.quantized(m.node("Conv", m.float_input(1, 8, 3, 4000), m.weights(8, 8, 3, 3), pads=[1] * 4))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A machine with a kilobyte of SRAM a slice."""
    path = tmp_path / "tiny.toml"
    path.write_text('base = "warboy"\nname = "tiny"\nsram_bytes_per_slice = 1024\n')
    return path


@pytest.mark.parametrize(("draw", "op"), [(softmax, "Softmax"), (convolution, "Conv")])
def test_what_does_not_fit_sram_is_on_the_host(draw: Callable[[Qdq], object], op: str, tiny: Path) -> None:
    m = Qdq("int8")
    draw(m)
    model, feeds, npu = m.model(), m.feeds(), load_config(tiny)
    enf = furc.compile(model, npu=npu)
    (left,) = [o for step in enf.host_steps for o in step.operators if o.reason]
    assert left.name == op and "B of each slice's SRAM" in left.reason and "smaller" in left.remedy
    got = furc.Session(enf, npu=npu).run(feeds)
    for name, array in runtime(model, feeds, optimized=False).items():
        assert np.abs(got[name].astype(np.int32) - array.astype(np.int32)).max() <= 1


def test_every_way_to_compile_does_so(tiny: Path, tmp_path: Path) -> None:
    m = Qdq("int8")
    softmax(m)
    onnx.save(m.model(), tmp_path / "m.onnx")
    asked = Request(npu_config=tiny, cache=False)
    built, inspected = build(tmp_path / "m.onnx", asked), inspect(tmp_path / "m.onnx", asked).built
    assert inspected is not None and built.enf == inspected.enf
    assert any("slice's SRAM" in work.reason for work in built.budget.host)
    assert isinstance(lower(tmp_path / "m.onnx", "lir", asked), Program)
    assert [row.operator for row in verify(m.model(), m.feeds(), asked.options()).tensors] == ["table"]


def test_where_nothing_helps_the_first_error_is_told() -> None:
    asked: list[int] = []

    def make(number: int) -> int:
        asked.append(number)
        raise LowerError("OutOfSram", f"after {number} nodes", at=Loc("m.onnx", (f"node {min(number, 2)}",)))

    with pytest.raises(LowerError, match="after 0 nodes"):
        fitted(lambda leave: len(leave), make)
    assert asked == [0, 1, 2, 3]
    with pytest.raises(LowerError, match="OutOfDram"):
        fitted(lambda leave: 0, lambda _: (_ for _ in ()).throw(LowerError("OutOfDram", "the model is too large")))
