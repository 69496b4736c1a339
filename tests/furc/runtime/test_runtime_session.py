"""A session runs the steps of a plan in order, from any number of threads, on arrays of any byte order."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plans import NPU, SHAPE, WEIGHTS, X, Y, host, kept, mixed, mixed_result, plan

import furc
from furc.data.inputs import random_inputs
from furc.profiling.bound_by import BoundBy
from furc.profiling.profile import Profile, summarize
from furc.profiling.recorded import record
from furc.quantizer import QuantizeOptions, quantize_model
from furc.report.profile_html import profile_html
from furc.report.profile_table import summary_table
from furc.report.tables import plain
from furc.report.trace import chrome_trace
from furc.zoo import digits
from isa.enf import Enf, read, write
from isa.errors import EnfError, RunError
from isa.instructions import Conv, Preload
from isa.program import fetch


@pytest.fixture(scope="module")
def enf() -> Enf:
    images = [{"images": image[None]} for image in digits.calibration_images()[:2]]
    return furc.compile(quantize_model(digits.model(), images, QuantizeOptions(method="MIN_MAX_ASYM")))


def some_x(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return np.random.default_rng(seed).integers(-127, 128, SHAPE, np.int8)


@pytest.mark.parametrize("accelerate", [True, False])
def test_steps_follow_one_another(accelerate: bool) -> None:
    session = furc.Session(read(write(mixed())), accelerate=accelerate)
    for seed in range(3):
        assert np.array_equal(session.run({"x": some_x(seed)})["y"], mixed_result(some_x(seed)))


def test_the_machine_keeps_what_it_holds_between_steps() -> None:
    fast, slow = (furc.Session(kept(), accelerate=a).run({"x": some_x(1)})["y"] for a in (True, False))
    assert np.array_equal(fast, slow) and len(np.unique(fast)) > 50


def test_a_program_may_use_a_bank_that_an_earlier_one_filled_but_no_other() -> None:
    binary = kept()
    assert [len(program) for program in fetch(binary, NPU)] == [5, 3]
    swapped = plan((("x", [], ""), ("", [Conv(x=X, y=Y, ocn=4, kn=4)], "y")))
    with pytest.raises(EnfError, match=r"instruction 0, conv\.bank: weight bank 0 is empty"):
        fetch(swapped, NPU)
    elsewhere = plan((("x", [Preload(src=WEIGHTS, wbytes=16, bank=1)], ""), ("", [Conv(x=X, y=Y, ocn=4, kn=4)], "y")))
    with pytest.raises(EnfError, match="weight bank 0 is empty"):
        fetch(elsewhere, NPU)


def test_a_model_may_be_all_host() -> None:
    binary = replace(plan((host("Abs", "x", "a"), host("Neg", "a", "y", images=2))), image=b"", dram_bytes=0)
    binary = read(write(binary))
    assert np.array_equal(furc.Session(binary).run({"x": some_x(0)})["y"], -np.abs(some_x(0)))
    measured = furc.profile(binary)
    assert measured.cycles == 0 and measured.latency_ms == measured.host_ms > 0
    assert [o.name for o in measured.operators] == ["Abs", "Neg"]
    assert json.loads(chrome_trace(measured))["traceEvents"] and profile_html(measured)
    assert "0 programs" in plain(summary_table(measured))


def test_a_profile_goes_step_by_step() -> None:
    measured = summarize(record(mixed(), NPU))
    names = [o.name for o in measured.operators]
    assert names[:3] == ["Abs", "Lower", "LowLevelThing"] and names[-2:] == ["Unlower", "Sign"]
    assert [w.name for w in measured.host] == ["Abs", "Lower", "Unlower", "Neg", "Lower", "Unlower", "Sign"]
    runs = measured.recorded.runs
    assert measured.cycles == sum(run.cycles for run in runs) and len(runs) == 2
    of_mac = NPU.host_copy_ns_per_element * 1024 + NPU.host_ns_per_mac * 5000
    assert measured.host[0].ms == pytest.approx(mixed().host_steps[0].images * of_mac / 1e6)
    assert measured.operators[0].bound_by is BoundBy.HOST and measured.operators[0].onnx_nodes == ("/Abs",)
    assert "2 programs" in plain(summary_table(measured)) and profile_html(measured)


def test_a_trace_places_steps_one_after_another() -> None:
    measured = summarize(record(mixed(), NPU))
    events = [e for e in json.loads(chrome_trace(measured))["traceEvents"] if e["ph"] == "X"]
    ends = {name: [e["ts"] + e["dur"] for e in events if e["name"] == name] for name in ("Abs", "Neg", "Unlower")}
    work = sorted(e["ts"] for e in events if e["cat"] == "npu")
    assert ends["Abs"][0] <= work[0] and work[2] < ends["Unlower"][0] < ends["Neg"][0] <= work[3]
    assert max(e["ts"] + e["dur"] for e in events) == pytest.approx(measured.latency_ms * 1e3, abs=0.01)


def test_eight_threads_share_a_session(enf: Enf) -> None:
    session = furc.Session(enf)
    feeds = [random_inputs(enf.inputs, seed) for seed in range(8)]
    wanted = [session.run(feed) for feed in feeds]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(session.run, feeds * 4))
    for index, found in enumerate(results):
        for name, array in found.items():
            assert np.array_equal(array, wanted[index % 8][name])


def test_results_of_a_run_stay_when_the_next_one_starts() -> None:
    session = furc.Session(kept())
    first = session.run({"x": some_x(0)})["y"]
    before = first.copy()
    session.run({"x": some_x(1)})
    assert np.array_equal(first, before)


def test_arrays_of_the_other_byte_order_are_the_same_values(enf: Enf) -> None:
    session, feed = furc.Session(enf), random_inputs(enf.inputs, 3)
    swapped = {name: array.astype(array.dtype.newbyteorder()) for name, array in feed.items()}
    assert all(array.dtype.byteorder not in "=|" for array in swapped.values())
    for name, array in session.run(feed).items():
        assert np.array_equal(array, session.run(swapped)[name])


@pytest.mark.parametrize("dtype", ["float64", ">f8", "int32", "uint8", "S4"])
def test_another_type_is_refused(enf: Enf, dtype: str) -> None:
    with pytest.raises(RunError, match=r"error\[InputType\]: input 'images' is "):
        furc.Session(enf).run({"images": np.zeros((1, 1, 8, 8), dtype)})


@pytest.mark.parametrize("given", [None, 3, "images", b"images"])
def test_what_is_no_array_at_all_is_refused(enf: Enf, given: Any) -> None:
    with pytest.raises(RunError, match=r"the inputs are .*, no arrays") as caught:
        furc.Session(enf).run(given)
    assert caught.value.name == "InputType" and "'images' float32[1, 1, 8, 8]" in (caught.value.hint or "")


def test_rows_of_unlike_lengths_are_no_array(enf: Enf) -> None:
    with pytest.raises(RunError, match=r"InputType.*input 'images' is list, no array: setting an array element"):
        furc.Session(enf).run({"images": [[1, 2], [3]]})  # type: ignore[dict-item]


def test_a_tensor_of_another_library_may_be_no_array(enf: Enf) -> None:
    """One of PyTorch with gradients has a RuntimeError."""

    class Tracked:
        def __array__(self, *_: object, **__: object) -> None:
            raise RuntimeError("call detach")

    with pytest.raises(RunError, match=r"InputType.*input 'images' is Tracked, no array: call detach"):
        furc.Session(enf).run({"images": Tracked()})  # type: ignore[dict-item]


def test_a_number_of_numpy_is_an_array_without_axes(enf: Enf) -> None:
    with pytest.raises(RunError, match=r"InputShape.*input 'images' has shape \[\]"):
        furc.Session(enf).run(np.float32(1))  # type: ignore[arg-type]


def test_what_is_masked_is_not_run_as_if_it_were_there(enf: Enf) -> None:
    session, x = furc.Session(enf), np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    with pytest.raises(RunError, match=r"InputType.*'images' has masked values"):
        session.run({"images": np.ma.masked_less(x, 0.5)})
    whole, unmasked = (session.run([given]) for given in (x, np.ma.masked_less(x, -1)))
    assert all(np.array_equal(array, unmasked[name]) for name, array in whole.items())


def test_a_session_takes_arrays_in_order_and_serves_a_with(enf: Enf, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    enf.save(tmp_path / "m.enf")
    with furc.Session(tmp_path / "m.enf") as session:
        [expected] = session.run({"images": x}).values()
        for inputs in ([x], (x,), x):
            [made] = session.run(inputs).values()
            assert np.array_equal(made, expected)
        assert repr(session).startswith("<Session of '") and "'images' float32[1, 1, 8, 8]" in repr(session)
        with pytest.raises(RunError) as caught:
            session.run([x, x])
    assert caught.value.message == "2 arrays, the model has 1 input" and "'images'" in caught.value.hint


def test_binaries_and_profiles_print_as_one_screen(enf: Enf) -> None:
    many = plan([host("Abs", "x" if i == 0 else f"t{i}", f"t{i + 1}") for i in range(100)], y="t100")
    assert "and 88 more steps" in repr(many)
    measured: Profile = furc.profile(enf)
    for shown in (repr(enf), repr(many), repr(measured), repr(summarize(record(mixed(), NPU)))):
        assert len(shown.splitlines()) <= 24 and all(len(line) <= 200 for line in shown.splitlines())
