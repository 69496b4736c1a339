"""ONNX's own operator tests as quantized models: inputs and outputs on grids of their ranges, one operator each.

A case ships a float model with inputs and outputs. Its data inputs and outputs get a QuantizeLinear and a
DequantizeLinear, its weights become int8, everything else becomes constant: so a compiler for INT8 sees it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.shape_inference
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

from furc.onnx.run import RunModel
from passes.dfg.legality import ACCELERATED_28

Array = NDArray[Any]
NEWEST_OPSET, OLDEST_OPSET = 21, 13
REALS = (np.float32, np.float64, np.float16)
WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (1,)}  # inputs that become symmetric int8
OPERANDS = ("Add", "Mul", "Sub", "Div", "Sum", "Mean", "Max", "Min")  # their constants become int8
KNOWN = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "Clip": (1, 2), "Pad": (1, 2, 3), "Reshape": (1,),
    "Expand": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Unsqueeze": (1,), "ReduceSum": (1,), "ReduceL2": (1,),
}  # fmt: skip


class Case(NamedTuple):
    """A float model, and what it makes of some inputs."""

    suite: str
    name: str
    op: str
    model: onnx.ModelProto
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


class Quantized(NamedTuple):
    """The case for an INT8 compiler. reference: the float model on inputs and weights as their grids hold them."""

    model: onnx.ModelProto
    reference: onnx.ModelProto
    feeds: dict[str, Array]
    known: dict[str, Array]
    steps: tuple[float, ...]  # of the grid of each output; 0: not quantized


def cases() -> tuple[Case, ...]:
    """Every case whose first computing node is one of the 28."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(case for case in (*_node_cases(), *_pytorch_cases()) if case.op in ACCELERATED_28)


def _node_cases() -> Iterator[Case]:
    for shipped in collect_testcases(None):
        model = shipped.model
        op = model.graph.node[0].op_type
        if len(model.graph.node) != 1 or not shipped.data_sets or op not in ACCELERATED_28:
            continue
        inputs, outputs = shipped.data_sets[0]
        made = [np.asarray(a) for a in inputs], [np.asarray(a) for a in outputs]
        yield Case("node", shipped.name, op, model, tuple(made[0]), tuple(made[1]))


def _pytorch_cases() -> Iterator[Case]:
    for kind in ("pytorch-operator", "pytorch-converted"):
        for shipped in load_model_tests(kind=kind):
            model = onnx.load(f"{shipped.model_dir}/model.onnx")
            ops = [node.op_type for node in model.graph.node if node.op_type != "Constant"]
            op = next((name for name in ops if name in ACCELERATED_28), "")
            inputs, outputs = (
                tuple(_stored(f"{shipped.model_dir}/test_data_set_0/{what}_{i}.pb") for i in range(len(tensors)))
                for what, tensors in (("input", _fed(model)), ("output", model.graph.output))
            )
            yield Case(kind, shipped.name, op, model, inputs, outputs)


def _fed(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    known = {tensor.name for tensor in model.graph.initializer}
    return [tensor for tensor in model.graph.input if tensor.name not in known]


def _stored(path: str) -> Array:
    with open(path, "rb") as file:
        array: Array = numpy_helper.to_array(onnx.load_tensor_from_string(file.read()))
    return array


def quantized(case: Case) -> Quantized:
    """Raises ValueError where the model cannot be brought to an opset that furc reads."""
    model = _at_a_known_opset(case.model)
    graph, nodes = model.graph, list(model.graph.node)
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    feeds: dict[str, Array] = {}
    for node in [n for n in nodes if n.op_type == "Constant"]:
        known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        nodes.remove(node)
    for tensor, array in zip(_fed(model), case.inputs, strict=True):
        (known if _is_known(nodes, tensor.name, array) else feeds)[tensor.name] = array
    made = _Quantizing(nodes, known)
    reference = dict(known)
    for name, array in feeds.items():
        if array.dtype in REALS:
            feeds[name] = array.astype(np.float32)
            made.activation(name, feeds[name])
    for name in _weights(nodes):
        if name in known:
            reference[name] = made.weights(name, known[name])
    for node in nodes:
        for name in node.input:
            if node.op_type in OPERANDS and name in known and known[name].dtype in REALS and name not in made.gone:
                reference[name] = made.operand(name, known[name].astype(np.float32))
    if len(nodes) > 1:
        results = {tensor.name for tensor in graph.output}
        inside = [name for node in nodes[:-1] for name in node.output if name not in results]
        held = _values(nodes, feeds, inside, known, _opset(model))
        made.chain([(name, array) for name, array in held.items() if array.dtype in REALS])
    steps = tuple(made.output(t.name, a) for t, a in zip(graph.output, case.outputs, strict=True))
    known = {name: a.astype(np.float32) if a.dtype in REALS else a for name, a in known.items()}
    return Quantized(
        made.model(feeds, known, [t.name for t in graph.output], case.outputs, _opset(model)),
        _plain(nodes, feeds, [t.name for t in graph.output], case.outputs, reference, _opset(model)),
        feeds, reference, steps,
    )  # fmt: skip


def _values(
    nodes: list[onnx.NodeProto], feeds: dict[str, Array], names: list[str], known: dict[str, Array], opset: int
) -> dict[str, Array]:  # fmt: skip
    """What tensors inside the float model hold."""
    model = _plain(nodes, feeds, names, tuple(np.zeros(0, np.float32) for _ in names), known, opset)
    for output in model.graph.output:
        output.ClearField("type")
    return RunModel(model.SerializeToString(), plain=True, threads=1)(feeds)


def _weights(nodes: list[onnx.NodeProto]) -> list[str]:
    found = [node.input[i] for node in nodes for i in WEIGHTS.get(node.op_type, ()) if i < len(node.input)]
    return list(dict.fromkeys(found))


def _is_known(nodes: list[onnx.NodeProto], name: str, array: Array) -> bool:
    """Weights, bounds, shapes: what models hold as constants."""
    uses = [(node.op_type, i) for node in nodes for i, read in enumerate(node.input) if read == name]
    return bool(uses) and all(i in KNOWN.get(op, ()) for op, i in uses)


def _opset(model: onnx.ModelProto) -> int:
    return max(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))


def _at_a_known_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Newer operators under the newest number that furc reads: what changed is types. Older ones are converted."""
    opset = _opset(model)
    if opset < OLDEST_OPSET:
        try:
            return version_converter.convert_version(model, OLDEST_OPSET)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"opset {opset} does not convert") from error
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.opset_import:
        entry.version = min(entry.version, NEWEST_OPSET) if entry.domain in ("", "ai.onnx") else entry.version
    return copy


class _Quantizing:
    """Nodes with quantization around them."""

    def __init__(self, nodes: list[onnx.NodeProto], known: dict[str, Array]) -> None:
        self.nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        self.before: list[onnx.NodeProto] = []
        self.after: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.gone: set[str] = set()

    def activation(self, name: str, array: Array) -> None:
        scale, zero = _grid(array)
        self.before += self._pair(name, f"{name}.dq", scale, zero)
        self._renamed(name, f"{name}.dq")

    def output(self, name: str, array: Array) -> float:
        if array.dtype not in REALS:
            return 0.0
        scale, zero = _grid(array)
        for node in self.nodes:
            for i, made in enumerate(node.output):
                if made == name:
                    node.output[i] = f"{name}.float"
        self._renamed(name, f"{name}.float")
        self.after += self._pair(f"{name}.float", name, scale, zero)
        return scale

    def weights(self, name: str, array: Array) -> Array:
        """Symmetric int8; the values they have then."""
        scale = np.float32(max(float(np.abs(array).max(initial=0)), 1e-3) / 127)
        stored = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
        held = {f"{name}.stored": stored, f"{name}.s": scale, f"{name}.z": np.int8(0)}
        self.constants |= {key: np.asarray(value) for key, value in held.items()}
        inputs = [f"{name}.stored", f"{name}.s", f"{name}.z"]
        self.before.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], name=f"{name}.dq"))
        self._renamed(name, f"{name}.dq")
        self.gone.add(name)
        return stored.astype(np.float32) * scale

    def operand(self, name: str, array: Array) -> Array:
        """A constant on a grid of its own; the values it has then."""
        scale, zero = _grid(array)
        stored = np.clip(np.rint(array / np.float32(scale)) + zero, -128, 127).astype(np.int8)
        held = {f"{name}.stored": stored, f"{name}.s": np.float32(scale), f"{name}.z": np.int8(zero)}
        self.constants |= {key: np.asarray(value) for key, value in held.items()}
        self.before.append(helper.make_node("DequantizeLinear", list(held), [f"{name}.dq"], name=f"{name}.dq"))
        self._renamed(name, f"{name}.dq")
        self.gone.add(name)
        result: Array = (stored.astype(np.float32) - np.float32(zero)) * np.float32(scale)
        return result

    def chain(self, held: list[tuple[str, Array]]) -> None:
        """A grid for each float tensor between two nodes."""
        for name, array in held:
            at = next(i for i, node in enumerate(self.nodes) if name in node.output)
            self._renamed(name, f"{name}.dq")
            self.nodes[at + 1 : at + 1] = self._pair(name, f"{name}.dq", *_grid(array))

    def _pair(self, source: str, target: str, scale: float, zero: int) -> list[onnx.NodeProto]:
        self.constants |= {f"{source}.s": np.asarray(scale, np.float32), f"{source}.z": np.asarray(zero, np.int8)}
        parameters = [f"{source}.s", f"{source}.z"]
        return [
            helper.make_node("QuantizeLinear", [source, *parameters], [f"{source}.q"], name=f"{source}.q"),
            helper.make_node("DequantizeLinear", [f"{source}.q", *parameters], [target], name=f"{target}.dq"),
        ]

    def _renamed(self, old: str, new: str) -> None:
        for node in self.nodes:
            for i, read in enumerate(node.input):
                if read == old:
                    node.input[i] = new

    def model(
        self, feeds: dict[str, Array], known: dict[str, Array], outputs: list[str], made: tuple[Array, ...], opset: int
    ) -> onnx.ModelProto:  # fmt: skip
        kept = {name: array for name, array in known.items() if name not in self.gone}
        nodes = [*self.before, *self.nodes, *self.after]
        return _plain(nodes, feeds, outputs, made, {**kept, **self.constants}, opset)


def _plain(
    nodes: list[onnx.NodeProto], feeds: dict[str, Array], outputs: list[str], made: tuple[Array, ...],
    known: dict[str, Array], opset: int,
) -> onnx.ModelProto:  # fmt: skip
    def info(name: str, array: Array) -> onnx.ValueInfoProto:
        kind = TensorProto.FLOAT if array.dtype in REALS else helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, kind, array.shape)

    holding = [
        numpy_helper.from_array(np.asarray(a, np.float32) if np.asarray(a).dtype in REALS else np.asarray(a), name)
        for name, a in known.items()
    ]
    graph = helper.make_graph(
        nodes, "case", [info(name, array) for name, array in feeds.items()],
        [info(name, array) for name, array in zip(outputs, made, strict=True)], holding,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _grid(array: Array) -> tuple[float, int]:
    """Scale and int8 zero point of the range of an array, with 0 inside."""
    if not np.all(np.isfinite(array)) or np.abs(array).max(initial=0) > 1e30:
        raise ValueError("its values are no numbers, or beyond float32")
    finite = array.astype(np.float64)
    low, high = min(0.0, float(finite.min(initial=0))), max(0.0, float(finite.max(initial=0)))
    scale = float(np.float32(max((high - low) / 255, 1e-4)))
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))
