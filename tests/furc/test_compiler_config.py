"""The keys of the compiler config: what they do, and what is said about wrong ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "frontend"))
from qdq_models import Qdq

import furc
from furc.compiler_config import KEYS, REFUSED, CompilerConfig, compiler_config, config_keys
from furc.runtime.session import Session
from isa.errors import ConfigError


def small(kind: str = "uint8") -> Qdq:
    m = Qdq(kind)
    m.output(m.quantized(m.node("Conv", m.float_input(1, 3, 8, 6), m.weights(4, 3, 3, 3))))
    m.outputs = {name: kind for name, kind in m.outputs.items() if kind == "float32"}
    return m


def test_an_input_with_its_axes_in_another_order() -> None:
    m = small()
    model, feeds = m.model(), m.feeds()
    (name,) = feeds
    enf = furc.compile(model, compiler_config={"permute_input": [[0, 3, 1, 2]]})
    assert enf.inputs[0].shape == (1, 8, 6, 3)
    wanted = Session(furc.compile(model)).run(feeds)
    got = Session(enf).run({name: np.ascontiguousarray(feeds[name].transpose(0, 2, 3, 1))})
    assert all(np.array_equal(got[n], wanted[n]) for n in wanted)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_an_input_that_is_quantized_already(kind: str) -> None:
    m = small(kind)
    model, feeds = m.model(), m.feeds()
    (name,) = feeds
    enf = furc.compile(model, compiler_config={"without_quantize": True})
    assert enf.inputs[0].dtype == kind
    zero, limits = 3 + 128 * (kind == "uint8"), np.iinfo(kind)
    stored = np.clip(np.rint(feeds[name] / np.float32(0.02)) + zero, limits.min, limits.max).astype(kind)
    wanted, got = Session(furc.compile(model)).run(feeds), Session(enf).run({name: stored})
    assert all(np.array_equal(got[n], wanted[n]) for n in wanted)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_npu_segments", 0, "max_npu_segments: expected a number from 1 on, auto or all, got 0"),
        ("max_npu_segments", True, "max_npu_segments: expected a number from 1 on, auto or all, got True"),
        ("operator_set", "all", "operator_set: expected seed28 or sdk0.10, got all"),
        ("permute_input", [0, 3], "permute_input: expected a list of axes for each input, got [0, 3]"),
        ("split_after_lower", False, "split_after_lower: expected true, got False"),
        ("without_quantize", {"parameters": []}, "without_quantize: expected true or false, got {'parameters': []}"),
    ],
)
def test_a_wrong_value_says_what_was_expected(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiler_config({key: value})
    assert (caught.value.name, caught.value.message) == ("BadConfigValue", message)


@pytest.mark.parametrize("key", REFUSED)
def test_a_key_that_furc_does_not_have_says_why(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiler_config({key: True})
    assert caught.value.name == "UnsupportedConfigKey" and caught.value.hint == REFUSED[key]


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no compiler config key 'max_npu_segment'") as caught:
        compiler_config({"max_npu_segment": 2})
    assert caught.value.hint == "did you mean 'max_npu_segments'?"


def test_orders_that_do_not_fit_the_model() -> None:
    model = small().model()
    for orders, message in (([[0, 1]], "is no order of the 4 axes"), ([[], []], "the model 1 input")):
        with pytest.raises(ConfigError, match=message):
            furc.compile(model, compiler_config={"permute_input": orders})


def test_every_key_is_listed_with_its_default() -> None:
    listed = config_keys()
    assert set(listed) == {*KEYS, *REFUSED}
    assert listed["max_npu_segments"][0] == CompilerConfig().max_npu_segments == 1
