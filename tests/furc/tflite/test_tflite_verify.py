"""TFLite networks against LiteRT, operator by operator; verify finds the operator that is wrong and cuts it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tflite_models import Drawing

from furc.cli.main import cli
from furc.compiler import compile_graph
from furc.request import Request
from furc.tflite.convert import converted, to_onnx
from furc.tflite.cutting import part_above
from furc.tflite.litert import litert_run
from furc.verify import Against, minimal, minimal_tflite, verify_file
from isa.npu import target, with_constants
from passes.ir.graph import Graph
from passes.ops.conv import Conv2d

RELU, RELU6 = 1, 3


def residual(d: Drawing) -> int:
    """MobileNet's blocks: expand, depthwise, project, ADD; a MEAN and a FULLY_CONNECTED behind them."""
    x = d.conv(d.input((1, 24, 24, 3)), 8, stride=2, activation=RELU6, scale=0.05)
    y = d.conv(x, 16, kernel=1, activation=RELU6, scale=0.05)
    y = d.conv(y, 16, depthwise=True, activation=RELU6, scale=0.05)
    y = d.conv(y, 8, kernel=1, scale=0.1)
    x = d.op("ADD", (x, y), (d.activation((1, 12, 12, 8), 0.1),), "AddOptions")
    y = d.conv(x, 12, stride=2, depthwise=False, activation=RELU6, scale=0.05)
    mean = d.op("MEAN", (y, d.ints(1, 2)), (d.activation((1, 12), 0.03),), "ReducerOptions")
    stored = d.random.integers(-127, 128, (10, 12)).astype(np.int8)
    weights = d.weights((10, 12), 10, 0)[0] if d.dtype == "uint8" else d.tensor((10, 12), 0.01, 0, data=stored)
    bias = d.bias(10, np.float32(0.03) * np.full(1, 0.01, np.float32))
    return d.op("FULLY_CONNECTED", (mean, weights, bias), (d.activation((1, 10), 0.02),), "FullyConnectedOptions")


def detector(d: Drawing) -> int:
    """Two scales, SiLU as LOGISTIC and MUL, a pool, an upsampling, a route by STRIDED_SLICE, heads joined as rows."""

    def silu(x: int, scale: float = 0.05) -> int:
        shape = tuple(d.graph.tensors[x].shape)
        gate = d.op("LOGISTIC", (x,), (d.activation(shape, 1 / 256, -128),))
        return d.op("MUL", (x, gate), (d.activation(shape, scale, -90),), "MulOptions")

    x = d.input((1, 32, 32, 3))
    x = d.op("PAD", (x, d.ints([0, 0], [1, 1], [1, 1], [0, 0])), (d.activation((1, 34, 34, 3)),), "PadOptions")
    x = silu(d.conv(x, 8, stride=2, padding=1))
    half = d.op("STRIDED_SLICE", (x, d.ints(0, 0, 0, 4), d.ints(1, 16, 16, 8), d.ints(1, 1, 1, 1)),
                (d.activation((1, 16, 16, 4), 0.05, -90),), "StridedSliceOptions")  # fmt: skip
    y = silu(d.conv(half, 4))
    fine = d.op("CONCATENATION", (x, y), (d.activation((1, 16, 16, 12), 0.05, -90),), "ConcatenationOptions", axis=3)
    coarse = d.op("MAX_POOL_2D", (fine,), (d.activation((1, 8, 8, 12), 0.05, -90),), "Pool2DOptions",
                  strideH=2, strideW=2, filterHeight=2, filterWidth=2)  # fmt: skip
    coarse = silu(d.conv(coarse, 12))
    up = d.op("RESIZE_NEAREST_NEIGHBOR", (coarse, d.ints(16, 16)), (d.activation((1, 16, 16, 12), 0.05, -90),),
              "ResizeNearestNeighborOptions")  # fmt: skip
    joined = d.op(
        "CONCATENATION", (fine, up), (d.activation((1, 16, 16, 24), 0.05, -90),), "ConcatenationOptions", axis=3
    )
    rows = []
    for feature, size in ((joined, 16), (coarse, 8)):
        head = d.conv(feature, 6, kernel=1, scale=0.3)
        shape = (1, size * size, 6)
        rows.append(
            d.op("RESHAPE", (head, d.ints(*shape)), (d.activation(shape, 0.3),), "ReshapeOptions", newShape=shape)
        )
    every = d.op("CONCATENATION", rows, (d.activation((1, 320, 6), 0.3),), "ConcatenationOptions", axis=1)
    return d.op("LOGISTIC", (every,), (d.activation((1, 320, 6), 1 / 256, -128),))


def written(draw: Callable[[Drawing], int], dtype: str, path: Path) -> Path:
    drawing = Drawing(dtype, seed=5)
    path.write_bytes(drawing.bytes(draw(drawing)))
    return path


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("draw", [residual, detector], ids=lambda draw: draw.__name__)
def test_every_operator_of_a_network_is_within_one_lsb_of_litert(
    draw: Callable[[Drawing], int], dtype: str, tmp_path: Path
) -> None:
    model = written(draw, dtype, tmp_path / "net.tflite")
    found = verify_file(model, Request(target_npu="warboy"), against=Against.LITERT)
    assert len(found.tensors) >= (8 if draw is residual else 12)
    assert found.bad(1) == []
    of_onnx = verify_file(model, Request(target_npu="warboy"))
    assert of_onnx.bad(1) == []


@pytest.fixture
def furc_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """The command line, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda *words: CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def wrong_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that adds to the bias of the third operator."""
    right = compile_graph

    def wrong(graph: Graph, *options: object) -> object:
        for op in graph.ops:
            if isinstance(op, Conv2d) and op.loc.nodes[0].startswith("DEPTHWISE_CONV_2D 2") and op.bias is not None:
                graph.constants = {**graph.constants, op.bias: graph.constants[op.bias] + 3000}
        return right(graph, *options)  # type: ignore[arg-type]

    monkeypatch.setattr("furc.verify.compare.compile_graph", wrong)


@pytest.mark.usefixtures("wrong_bias")
def test_the_wrong_operator_is_found_and_cut_out(tmp_path: Path) -> None:
    model = written(residual, "int8", tmp_path / "net.tflite")
    found = verify_file(model, Request(target_npu="warboy"))
    [bad] = found.bad(1)
    assert bad == found.first_bad(1) and bad.nodes[0].startswith("DEPTHWISE_CONV_2D 2") and bad.above.different == 0
    below = found.tensors[found.tensors.index(bad) + 1]
    assert below.arrived.different and below.arrived == replace(below.above) and below.added.different == 0
    cut = minimal(model, Request(target_npu="warboy"))
    assert cut is not None
    part, own = cut
    onnx.checker.check_model(part)
    assert sorted(node.op_type for node in part.graph.node) == [
        "Clip", "Conv", "DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "QuantizeLinear",
    ]  # fmt: skip
    assert own.worst_added == bad.added.worst


def test_nothing_is_cut_out_of_what_is_right(tmp_path: Path) -> None:
    assert minimal(written(residual, "int8", tmp_path / "net.tflite"), Request(target_npu="warboy")) is None


def test_the_command_names_the_first_bad_operator(furc_command: Callable[..., Result], tmp_path: Path) -> None:
    model = written(residual, "int8", tmp_path / "net.tflite")
    right = furc_command("verify", model, "--against", "litert")
    assert right.exit_code == 0 and "one operator adds at most 1 LSB" in right.stdout
    wrong = furc_command("verify", model, "--against", "litert", "--limit", 0)
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("error[ResultsDiffer]:") and "adds 1 LSB to 't" in wrong.stderr


def test_litert_runs_no_onnx_model(furc_command: Callable[..., Result], tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    drawing = Drawing()
    onnx.save(to_onnx(drawing.bytes(residual(drawing))), model)
    told = furc_command("verify", model, "--against", "litert")
    assert told.exit_code == 1 and told.stderr.startswith("error[NotTflite]:")


def test_what_litert_lacks_is_told(furc_command: Callable[..., Result], tmp_path: Path) -> None:
    """Converters write versions of operators that the installed LiteRT may not have."""
    drawing = Drawing()
    y = drawing.op("TILE", (drawing.input((1, 4, 4, 3)), drawing.ints(1, 2, 2, 1)), (drawing.activation((1, 8, 8, 3)),))
    drawing.model.operatorCodes[0].version = 99
    path = tmp_path / "net.tflite"
    path.write_bytes(drawing.bytes(y))
    told = furc_command("verify", path, "--against", "litert")
    assert told.exit_code == 1 and "error[LitertCannotRun]" in told.stderr and "version '99'" in told.stderr


@pytest.mark.usefixtures("wrong_bias")
def test_the_command_writes_the_minimal_model(furc_command: Callable[..., Result], tmp_path: Path) -> None:
    model, part = written(residual, "int8", tmp_path / "net.tflite"), tmp_path / "part.onnx"
    told = furc_command("verify", model, "--minimal", part)
    assert told.exit_code == 1 and "node 'DEPTHWISE_CONV_2D 2" in told.stderr
    assert len(onnx.load(part).graph.node) == 6
    assert furc_command("verify", part).exit_code == 1


def test_an_image_is_fed_with_its_channels_last(furc_command: Callable[..., Result], tmp_path: Path) -> None:
    model, image = written(residual, "uint8", tmp_path / "net.tflite"), tmp_path / "cat.png"
    Image.fromarray(np.arange(24 * 24 * 3, dtype=np.uint8).reshape(24, 24, 3)).save(image)
    told = furc_command("verify", model, "--against", "litert", "--input", f"input0={image}")
    assert told.exit_code == 0, told.stderr


def test_a_tensor_that_is_brought_onto_another_grid_is_compared_on_that_grid(tmp_path: Path) -> None:
    """The float tensor's name is then that of the value before."""
    d = Drawing("int8")
    a, b = d.input((1, 4, 4, 3), 0.05), d.input((1, 4, 4, 2), 0.05)
    y = d.op("CONCATENATION", (a, b), (d.activation((1, 4, 4, 5), 0.09),), "ConcatenationOptions", axis=3)
    model = tmp_path / "net.tflite"
    model.write_bytes(d.bytes(d.conv(y, 4)))
    found = verify_file(model, Request(target_npu="warboy"))
    assert found.worst_arrived == 0 and "t2.requantized" in [row.tensor for row in found.tensors]


@pytest.fixture
def wrong_depthwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that adds to the bias of every depthwise convolution, wherever it stands in a model."""
    right = compile_graph

    def wrong(graph: Graph, *options: object) -> object:
        for op in graph.ops:
            if isinstance(op, Conv2d) and "DEPTHWISE" in op.loc.nodes[0] and op.bias is not None:
                graph.constants = {**graph.constants, op.bias: graph.constants[op.bias] + 3000}
        return right(graph, *options)  # type: ignore[arg-type]

    monkeypatch.setattr("furc.verify.compare.compile_graph", wrong)


@pytest.mark.usefixtures("wrong_depthwise")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_against_litert_a_tflite_model_is_cut_out(
    furc_command: Callable[..., Result], tmp_path: Path, dtype: str
) -> None:
    model, part = written(residual, dtype, tmp_path / "net.tflite"), tmp_path / "part.tflite"
    words = ("verify", model, "--against", "litert", "--target-npu", "warboy", "--minimal", part)
    told = furc_command(*words)
    assert told.exit_code == 1 and f"saved to {part}, 1 operator" in told.stderr
    (operator,) = converted(part.read_bytes()).model.operators
    assert operator.op == "DEPTHWISE_CONV_2D" and part.stat().st_size < model.stat().st_size
    again = furc_command("verify", part, "--against", "litert", "--target-npu", "warboy")
    assert again.exit_code == 1 and "ResultsDiffer" in again.stderr
    assert furc_command(*words).exit_code == 1  # what furc wrote it may write again
    other = written(residual, dtype, tmp_path / "mine.tflite")
    assert "error[WouldOverwrite]" in furc_command(*words[:-1], other).stderr


@pytest.mark.usefixtures("wrong_depthwise")
def test_a_convolution_over_blocks_is_cut_out_whole(tmp_path: Path) -> None:
    """The file has three operators for the one that is wrong."""
    drawing = Drawing()
    x = drawing.conv(drawing.input((1, 8, 8, 3)), 4, scale=0.1)
    blocks = drawing.ints(2, 2)
    y = drawing.op(
        "SPACE_TO_BATCH_ND", (x, blocks, drawing.ints([2, 2], [2, 2])), (drawing.activation((4, 6, 6, 4), 0.1),)
    )
    y = drawing.conv(y, 4, depthwise=True, padding=1)
    y = drawing.op(
        "BATCH_TO_SPACE_ND", (y, blocks, drawing.ints([0, 0], [0, 0])), (drawing.activation((1, 8, 8, 4), 0.2),)
    )
    path = tmp_path / "net.tflite"
    path.write_bytes(drawing.bytes(y))
    found = minimal_tflite(path, Request(target_npu="warboy"))
    assert found is not None and found[0].operators == 4


def test_against_litert_nothing_is_cut_out_of_what_is_right(tmp_path: Path) -> None:
    model = written(residual, "int8", tmp_path / "net.tflite")
    assert minimal_tflite(model, Request(target_npu="warboy")) is None


def test_a_part_may_be_of_several_operators(tmp_path: Path) -> None:
    """Its numbers are those of the whole."""
    data = written(detector, "int8", tmp_path / "net.tflite").read_bytes()
    (given,) = converted(data).proto().graph.input
    inputs = {given.name: np.random.default_rng(0).integers(-128, 128, (1, 32, 32, 3)).astype(np.int8)}
    whole, target = litert_run(data, inputs), converted(data).model.outputs[0]
    for depth, operators in ((1, 1), (2, 2), (99, len(converted(data).model.operators))):
        part = part_above(data, target, depth)
        assert part.operators == operators
        run = litert_run(part.data, {name: whole.get_tensor(number) for name, number in part.inputs.items()})
        assert np.array_equal(run.get_tensor(run.get_output_details()[0]["index"]), whole.get_tensor(target))


def test_what_does_not_fit_sram_is_on_the_host(tmp_path: Path) -> None:
    drawing, path = Drawing(), tmp_path / "m.tflite"
    path.write_bytes(drawing.bytes(drawing.conv(drawing.input((1, 3, 4000, 8)), 8)))
    asked = Request(on=with_constants(target("warboy"), {"sram_bytes_per_slice": 1024}))
    assert "Conv2d" not in {row.operator for row in verify_file(path, asked, against=Against.LITERT).tensors}
    assert minimal_tflite(path, asked) is None
