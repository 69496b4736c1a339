"""How compiling grows with a model: time with operators, memory with weights. `pytest benchmarks`."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.fidelity.rows import quantized
from benchmarks.vela.from_qdq import tflite_of
from furc.compiler import compile_graph
from furc.frontend import load_onnx
from furc.garbage import collect_seldom
from furc.quantizer import quantize
from furc.tflite.convert import to_onnx
from isa.npu import target
from isa.program import fetch
from passes.options import CompileOptions

LENGTHS = 100, 1000, 5000
FAMILY_WITHIN = 1.3  # time an instruction, of larger members of a family by that of the smallest one
LINEAR_WITHIN = 1.3  # time an operator, of a longer chain by that of the shortest one
MEMORY_PER_WEIGHT = 3  # peak beyond what starting takes, in bytes
MEMORY_BESIDE = 300 << 20  # bytes


def chain(length: int) -> onnx.ModelProto:
    """Convolutions one after another, quantized."""
    rng, shape = np.random.default_rng(0), [1, 8, 16, 16]
    weights = [
        numpy_helper.from_array(rng.standard_normal((8, 8, 1, 1)).astype(np.float32), f"w{i}") for i in range(length)
    ]
    nodes = [helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(length)]
    ends = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i in (0, length)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnx.load_from_string(quantize(model, {f"x{i}": (-2.0, 2.0) for i in range(length + 1)}))


@pytest.fixture
def as_commands() -> Iterator[None]:
    """Collecting garbage as seldom as commands do: else Python looks through all that lives, the more the longer."""
    usual = gc.get_threshold()
    collect_seldom()
    yield
    gc.set_threshold(*usual)


@pytest.mark.usefixtures("as_commands")
def test_compiling_takes_time_by_operators(benchmark: BenchmarkFixture) -> None:
    options = CompileOptions(npu=target("warboy"), use_program_loading=True)

    def compiled(model: onnx.ModelProto) -> float:
        begin = time.process_time()
        compile_graph(load_onnx(model), options)
        return time.process_time() - begin

    shortest, *longer = LENGTHS
    model = chain(shortest)
    compiled(model)  # warm
    each = min(compiled(model) for _ in range(3)) / shortest
    for length in longer[:-1]:
        assert compiled(chain(length)) / length <= LINEAR_WITHIN * each
    longest = longer[-1]
    assert benchmark.pedantic(compiled, (chain(longest),), rounds=1) / longest <= LINEAR_WITHIN * each


def test_reading_tflite_takes_time_by_operators() -> None:
    each = []
    for length in LENGTHS:
        data, seconds = tflite_of(chain(length)), []
        for _ in range(3):
            begin = time.process_time()
            to_onnx(data)
            seconds.append(time.process_time() - begin)
        each.append(min(seconds) / length)
    assert max(each[1:]) <= LINEAR_WITHIN * each[0], each


def test_a_family_takes_time_by_instructions() -> None:
    """Larger members have wider operators, too, each of more weight tiles: yolov5n has 7 instructions an operator,
    yolov5x 46."""
    options = CompileOptions(npu=target("warboy-2pe"), use_program_loading=True)
    each = []
    for letter in "nsmlx":
        model = quantized(f"yolov5{letter}", None)
        assert model is not None
        graph = load_onnx(model)
        seconds = []
        for _ in range(2):
            copied, begin = graph.copied(), time.process_time()
            enf = compile_graph(copied, options).enf
            seconds.append(time.process_time() - begin)
        each.append(min(seconds) / sum(map(len, fetch(enf, options.npu))))
    assert max(each[1:]) <= FAMILY_WITHIN * each[0], each


@pytest.mark.parametrize("name", ["yolov8n", "resnet50", "yolov8l"])
def test_compiling_takes_memory_by_weights(name: str, tmp_path: Path) -> None:
    model = quantized(name, None)
    assert model is not None
    path = tmp_path / f"{name}.onnx"
    onnx.save(model, path)
    code = "from furc.cli.main import main; main()"
    command = ["compile", str(path), "--no-cache", "-o", str(tmp_path / "out.enf")]
    idle, busy = (_peak_bytes(code, arguments) for arguments in (["--version"], command))
    assert busy - idle <= MEMORY_PER_WEIGHT * path.stat().st_size + MEMORY_BESIDE


def _peak_bytes(code: str, arguments: list[str]) -> int:
    """Of a process of its own."""
    report = (
        f"import resource, atexit; atexit.register(lambda: print(resource.getrusage({resource.RUSAGE_SELF}).ru_maxrss))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{report}\n{code}", *arguments], capture_output=True, text=True, check=True
    )
    return 1024 * int(done.stdout.split()[-1])
