"""Compute once what does not depend on the inputs.

before: Constant -> ConstantOfShape -> Concat -> Cast -> Pad(x, .)      after: Pad(x, constant)

ONNX Runtime computes the values, all of them in one session, so folding is running. Leaves alone: random
operators, operators with bodies, and results beyond 64 MiB that are larger than what they are made from.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from furc.onnx.graph import Array, Graph, Node
from furc.onnx.model_proto import infer_shapes
from furc.onnx.run import RunModel
from furc.onnx.traps import traps

UNSTABLE = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
KEPT = {"QuantizeLinear", "DequantizeLinear", "If", "Loop", "Scan"}
# Their inputs say how large the result is. Where inference does not know it, nobody knows what running them takes.
GROWING = {"ConstantOfShape", "Expand", "Tile", "Range", "OneHot", "Resize", "Upsample", "Pad", "EyeLike"}
LARGE_BYTES = 64 << 20


def fold_constants(graph: Graph) -> None:
    """Replace Constant, Shape of a known shape, and every node whose inputs are all constant."""
    _take_constant_nodes(graph)
    _fold_shapes(graph)
    known, constant = set(graph.constants), list[Node]()
    for node in graph.nodes:
        if _foldable(graph, node) and all(not name or name in known for name in node.inputs):
            constant.append(node)
            known.update(node.outputs)
    values = _run(graph, constant) if constant else {}
    done = [node for node in constant if all(not name or name in values for name in node.outputs)]
    stays = [node for node in done if set(node.outputs) & set(graph.outputs)]  # an output must have a node
    made = {name for node in stays for name in node.outputs}
    graph.constants.update({name: value for name, value in values.items() if name not in made})
    graph.remove(node for node in done if node not in stays)
    graph.remove_dead()


def _foldable(graph: Graph, node: Node) -> bool:
    own = node.domain in ("", "ai.onnx") and node.op not in UNSTABLE | KEPT and not may_trap(graph, node)
    return own and (node.op not in GROWING or graph.shape(node.output) is not None)


def may_trap(graph: Graph, node: Node) -> bool:
    """What would end the process; a divisor that is folded now is looked at in the next round."""
    divisor = graph.constants.get(node.input(1))
    return traps(node.op, divisor, integers=graph.is_integer(node.input(1)))


def _take_constant_nodes(graph: Graph) -> None:
    taken = []
    for node in graph.nodes:
        value = _constant_value(node) if node.op == "Constant" and node.output not in graph.outputs else None
        if value is not None:
            graph.constants[node.output] = value
            taken.append(node)
    graph.remove(taken)


def _constant_value(node: Node) -> Array | None:
    name = next(iter(node.attributes), "")
    if len(node.attributes) != 1 or name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        return None
    value = node.get(name)
    if name == "value":
        return np.asarray(value)
    return np.asarray(value, np.float32 if "float" in name else np.int64)


def _fold_shapes(graph: Graph) -> None:
    folded = []
    for node in graph.nodes:
        shape = graph.shape(node.input(0)) if node.op in ("Shape", "Size") else None
        if shape is not None and node.output not in graph.outputs:
            ends = slice(node.get("start"), node.get("end"))
            whole = np.array(shape, np.int64)
            graph.constants[node.output] = whole[ends] if node.op == "Shape" else np.array(whole.prod(), np.int64)
            folded.append(node)
    graph.remove(folded)


def _run(graph: Graph, nodes: list[Node]) -> dict[str, Array]:
    """The values of all tensors that these nodes make. {} where ONNX Runtime refuses: then nothing is folded."""
    names = [name for node in nodes for name in node.outputs if name]
    read = {name for node in nodes for name in node.inputs}
    alone = graph.copied(nodes)
    alone.inputs, alone.outputs = [], []
    alone.constants = {name: value for name, value in graph.constants.items() if name in read}
    part = alone.model()
    del part.graph.value_info[:]
    part.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    try:
        values = RunModel(_typed(part), plain=True, threads=1)({})
    except Exception:  # an operator this ONNX Runtime lacks: the model is refused later, where it is run
        return {}
    limit = max(LARGE_BYTES, sum(graph.constants[name].nbytes for name in read if name in graph.constants))
    return {name: value for name, value in values.items() if value.nbytes <= limit}


def _typed(model: onnx.ModelProto) -> bytes:
    """ONNX Runtime wants outputs to have a type; shape inference finds it."""
    inferred = infer_shapes(model)
    infos = {i.name: i for i in inferred.graph.value_info}
    for output in model.graph.output:
        if output.name in infos:
            output.CopyFrom(infos[output.name])
        if not output.type.tensor_type.elem_type:
            output.type.tensor_type.elem_type = TensorProto.UNDEFINED
    return bytes(model.SerializeToString())
