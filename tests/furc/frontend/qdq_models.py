"""Write small QDQ models by hand and compare what furc imports with what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from furc.frontend import load_onnx
from isa.npu import target
from passes.analysis.host_share import calls, host_operators
from passes.execute import execute
from passes.ir.graph import Graph
from passes.ir.op import Array

TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "float32": TensorProto.FLOAT}


class Qdq:
    """One QDQ model in the making; tensors are named by strings. Every QuantizeLinear result becomes an output."""

    def __init__(self, kind: str = "uint8", opset: int = 13, seed: int = 0) -> None:
        self.kind, self.opset = kind, opset
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: dict[str, tuple[str, tuple[int | str, ...]]] = {}
        self.initializers: dict[str, Array] = {}
        self.outputs: dict[str, str] = {}
        self.count = 0

    def fresh(self, hint: str) -> str:
        self.count += 1
        return f"{hint}_{self.count}"

    def const(self, array: Any, dtype: Any = None) -> str:
        name = self.fresh("c")
        self.initializers[name] = np.asarray(array, dtype)
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The output's name, which is also the node's."""
        return self.several(op, 1, *inputs, domain=domain, **attributes)[0]

    def several(self, op: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        """The names of several outputs. The node is called like its first one."""
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], domain=domain, **attributes))
        return names

    def float_input(self, *shape: int | str, scale: float = 0.02, zero: int = 3) -> str:
        name = self.fresh("x")
        self.inputs[name] = ("float32", shape)
        return self.quantized(name, scale, zero)

    def integer_input(self, *shape: int | str, scale: float = 0.02, zero: int = 3) -> str:
        name = self.fresh("x")
        self.inputs[name] = (self.kind, shape)
        return self.dequantize(name, scale, zero)

    def _scales(self, scale: float, zero: int) -> tuple[str, str]:
        """zero: as int8, whatever the model's kind."""
        stored = zero + 128 if self.kind == "uint8" else zero
        return self.const(scale, np.float32), self.const(stored, self.kind)

    def quantize(self, x: str, scale: float, zero: int) -> str:
        name = self.node("QuantizeLinear", x, *self._scales(scale, zero))
        self.outputs[name] = self.kind
        return name

    def dequantize(self, x: str, scale: float, zero: int) -> str:
        return self.node("DequantizeLinear", x, *self._scales(scale, zero))

    def quantized(self, x: str, scale: float = 0.05, zero: int = -7) -> str:
        """QuantizeLinear and DequantizeLinear."""
        return self.dequantize(self.quantize(x, scale, zero), scale, zero)

    def weights(self, *shape: int, axis: int | None = 0, scale: float = 0.01) -> str:
        stored = self.const(self.rng.integers(-127, 128, shape), np.int8)
        if axis is None:
            return self.node("DequantizeLinear", stored, self.const(scale, np.float32), self.const(0, np.int8))
        scales = self.const(self.rng.uniform(scale / 2, scale * 2, shape[axis]), np.float32)
        return self.node("DequantizeLinear", stored, scales, self.const(np.zeros(shape[axis]), np.int8), axis=axis)

    def bias(self, weights: str, channels: int, input_scale: float = 0.02) -> str:
        """int32 of scale sx * sw."""
        maker = next(n for n in self.nodes if n.output[0] == weights)
        scale = np.float32(input_scale) * self.initializers[maker.input[1]]
        stored = self.const(self.rng.integers(-2000, 2000, channels), np.int32)
        return self.node("DequantizeLinear", stored, self.const(scale), axis=0)

    def integers(self, *values: int) -> str:
        return self.const(list(values), np.int64)

    def output(self, name: str, kind: str = "float32") -> str:
        self.outputs[name] = kind
        return name

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info(n, TYPES[kind], shape) for n, (kind, shape) in self.inputs.items()],
            [helper.make_tensor_value_info(n, TYPES[kind], None) for n, kind in self.outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.initializers.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def feeds(self) -> dict[str, Array]:
        ranges: dict[str, Callable[[Any], Array]] = {
            "float32": lambda shape: self.rng.normal(0, 1.2, shape).astype(np.float32),
            "uint8": lambda shape: self.rng.integers(0, 256, shape).astype(np.uint8),
            "int8": lambda shape: self.rng.integers(-128, 128, shape).astype(np.int8),
        }
        return {name: ranges[kind](shape) for name, (kind, shape) in self.inputs.items()}


def runtime(model: onnx.ModelProto, feeds: Mapping[str, Array], *, optimized: bool) -> dict[str, Array]:
    """What ONNX Runtime computes; optimized: with its integer kernels, also for int8 activations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def imported(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> tuple[Graph, dict[str, Array]]:
    """The graph, and its outputs as the reference executor computes them."""
    graph = load_onnx(model, source="small.onnx")
    held = execute(graph, feeds, target("warboy"))
    return graph, {value.name: held[value] for value in graph.outputs}


def agree(m: Qdq, *, optimized: bool = True, within: int = 0) -> Graph:
    """Import and run; every output must equal ONNX Runtime's, integers within so many steps."""
    model, feeds = m.model(), m.feeds()
    expected = runtime(model, feeds, optimized=optimized)
    graph, got = imported(model, feeds)
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        if array.dtype == np.float32 and within:
            continue  # dequantized from an integer output that is compared
        difference = np.abs(got[name].astype(np.float64) - array.astype(np.float64)).max()
        assert difference <= within, f"{name}: {difference}, {(got[name] != array).mean():.2%} differ"
    return graph


def mnemonics(graph: Graph) -> list[str]:
    return [op.mnemonic for op in graph.ops]


def calibrated(
    model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]], folder: Any, **options: Any
) -> onnx.ModelProto:
    """onnxruntime.quantization's own QDQ form of a float model."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(feeds)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self.rest, None)

    quantize_static(model, folder / "quantized.onnx", Reader(), quant_format=QuantFormat.QDQ, **options)
    return onnx.load(folder / "quantized.onnx")


def on_host(graph: Graph) -> list[str]:
    """Why operators of a graph are on the host, of those that do not just go along."""
    found = (operator for call in calls(graph) for operator in host_operators(call, graph))
    return [operator.reason for operator in found if operator.reason]
