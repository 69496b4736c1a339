"""What the host's share of a binary may be: operators that end, on tensors whose sizes the file or their operands tell.

The bytes come from a file. ONNX Runtime would run a loop of 2**62 trips, make a tensor of any size, and read any file
that a constant names: all of that is refused. A size that only a run tells (NonMaxSuppression, NonZero) is no more than
that of the operands, unless an operator makes more out of less: those need sizes that are known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto, external_data_helper, helper, numpy_helper

from furc.isolated import Died, Worker
from furc.onnx.files import NEWEST_OPSET, OLDEST_OPSET
from furc.onnx.model_proto import OWN_DOMAINS, captured
from furc.onnx.soundness import NotValid, checked, node_name, tensors_of, walk
from furc.onnx.traps import DIVISIONS, TRAP, traps
from isa.enf import COMPILE_AGAIN, OPEN, Enf, HostStep
from isa.errors import EnfError, SourceError, first_line

# Each takes time in proportion to the products of the extents it reads and makes; of those with bodies, If alone.
ALLOWED = frozenset({
    "AffineGrid", "CenterCropPad", "Col2Im", "DFT", "DeformConv", "Dropout", "GRU", "LSTM", "NegativeLogLikelihoodLoss",
    "RNN", "STFT", "Scatter", "SoftmaxCrossEntropyLoss",
    "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "AveragePool", "BitShift", "CastLike", "Compress",
    "ConstantOfShape", "Conv", "ConvTranspose", "Cosh", "CumSum", "Det", "Einsum", "EyeLike", "GatherND", "Gemm",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GridSample", "GroupNormalization", "If", "IsInf", "IsNaN",
    "LRN",
    "LpPool", "MatMul", "MaxPool", "MaxRoiPool", "MaxUnpool", "MeanVarianceNormalization", "NonMaxSuppression",
    "NonZero", "OneHot", "Range", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ReverseSequence", "RoiAlign",
    "ScatterElements", "ScatterND", "Shape", "Shrink", "Sinh", "Size", "Tan", "ThresholdedRelu", "Trilu", "Unique",
    "Upsample",
    "Abs", "Add", "ArgMax", "ArgMin", "And", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Concat", "Constant",
    "Cos", "DepthToSpace", "DequantizeLinear", "Div", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor",
    "Gather", "GatherElements", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
    "LpNormalization", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow",
    "QuantizeLinear", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "Relu", "Reshape", "Resize", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Slice", "Softmax", "Softplus",
    "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose",
    "Unsqueeze", "Where", "Xor",
})  # fmt: skip
# They may make more elements than they read.
GROWING = frozenset({
    "AffineGrid", "CenterCropPad", "Col2Im", "ConstantOfShape", "Expand", "EyeLike", "MaxUnpool",
    "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample",
})  # fmt: skip
LARGEST = 1 << 28  # elements that a step holds at once: a GiB where they are float32
BESIDE_DECLARED = 32  # times the elements of its inputs and outputs, for what lies between them at once
SMALL = 1 << 20  # elements that any step may use
LONGEST = 1 << 32  # elements that all nodes of a step may make, one after another: seconds
MOST_TAPS = 4096  # of a kernel that may be larger than what it slides over, padding being no tensor
_FLOATING = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


class Declared(NamedTuple):
    """What the file says of a tensor at the edge of a step. shape: None where only the number of elements counts; an
    extent that only a run tells is -1."""

    dtype: str
    elements: int
    shape: tuple[int, ...] | None = None


def check_host_models(enf: Enf) -> None:
    """All host steps of a binary. Raises EnfError BadEnf."""
    user = {t.name: Declared(t.dtype, math.prod(t.shape), t.shape) for t in (*enf.inputs, *enf.outputs)}
    npu = {t.name: Declared("int8", t.shape.elements) for s in enf.npu_steps for t in (*s.inputs, *s.outputs)}
    with Worker(with_shapes) as shapes:
        for step in enf.host_steps:
            check_host_model(step.model, step.name, _of_one_image(step, {**npu, **user}), shapes)


def _of_one_image(step: HostStep, declared: Mapping[str, Declared]) -> dict[str, Declared]:
    """What the step's model sees, which is run once for each image. Raises EnfError BadEnf where it cannot be cut."""
    if step.images == 1:
        return dict(declared)
    cut = {}
    for name in (n for n in (*step.inputs, *step.outputs) if n in declared):
        dtype, elements, shape = declared[name]
        if shape is not None and OPEN in shape[1:]:
            continue
        if elements % step.images or (shape is not None and (not shape or shape[0] % step.images)):
            what = f"'{name}' {list(shape or (elements,))} cannot be cut into {step.images} images"
            raise EnfError("BadEnf", f"host step '{step.name}': {what}", hint=COMPILE_AGAIN)
        one = (shape[0] // step.images, *shape[1:]) if shape is not None else None
        cut[name] = Declared(dtype, elements // step.images, one)
    return cut


def check_host_model(model: bytes, name: str, declared: Mapping[str, Declared], shapes: Worker) -> None:
    """Refuse what furc's partition does not write. name: of the step; declared: tensors at its edge, by name; shapes:
    does `with_shapes`.

    Raises EnfError BadEnf with the step and the node.
    """
    try:
        wrong = next(_wrong(model, declared, shapes), None)
    except SourceError as error:
        wrong = f"{error.at}: {error.message}" if str(error.at) else error.message
    if wrong is not None:
        raise EnfError("BadEnf", f"host step '{name}': {wrong}", hint=COMPILE_AGAIN)


def with_shapes(model: bytes) -> bytes:
    """As onnx infers them: work for a process of its own, which it may end."""
    proto = onnx.ModelProto.FromString(model)
    return bytes(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).SerializeToString())


def _wrong(data: bytes, declared: Mapping[str, Declared], shapes: Worker) -> Iterator[str]:
    try:
        proto = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        yield f"no ONNX model: {error}"
        return
    yield from _constructs(proto)
    yield from _files(proto)
    checked(proto)
    yield from _edges(proto.graph, declared)
    yield from _sizes(proto, shapes)


def _constructs(proto: onnx.ModelProto) -> Iterator[str]:
    opsets = [entry.version for entry in proto.opset_import if entry.domain in OWN_DOMAINS]
    if not opsets:
        yield "it names no version of ONNX's operators"
    elif not all(OLDEST_OPSET <= version <= NEWEST_OPSET for version in opsets):
        yield f"opset {max(opsets)}, expected {OLDEST_OPSET} to {NEWEST_OPSET}"
    if proto.functions:
        yield f"it defines the function '{proto.functions[0].name}'"
    if proto.training_info or proto.graph.sparse_initializer:
        yield "it has training information or sparse constants"
    yield from refusals(proto.graph.node)


def refusals(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Why nodes, or those of their bodies, are in no host step."""
    for index, node in enumerate(nodes):
        where = f"node '{node_name(node, index)}'"
        if node.op_type not in ALLOWED or node.domain not in OWN_DOMAINS:
            yield f"{where}: a host step has no {node.domain or 'ONNX'} operator '{node.op_type}'"
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH and node.op_type == "If":
                yield from refusals(attribute.g.node)
            elif attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) or attribute.ref_attr_name:
                yield f"{where}: its attribute '{attribute.name}' holds a graph"


def _files(proto: onnx.ModelProto) -> Iterator[str]:
    for placed in tensors_of(walk(proto, "")):
        if external_data_helper.uses_external_data(placed.tensor) or placed.tensor.external_data:
            yield f"{placed.at}: it takes constants from other files"


def _edges(graph: onnx.GraphProto, declared: Mapping[str, Declared]) -> Iterator[str]:
    """Inputs and outputs as the file declares them. Those that only other host steps see may have any shape."""
    for role, infos in (("input", graph.input), ("output", graph.output)):
        for info in infos:
            shape, kind, said = _shape(info), _dtype(info), declared.get(info.name)
            fixed = said is not None and OPEN not in (said.shape or ())
            if (shape is None and fixed) or not kind:
                yield f"{role} '{info.name}' has no fixed shape and type"
                continue
            if said is None or shape is None or not fixed:
                continue
            if kind != said.dtype or math.prod(shape) != said.elements or said.shape not in (None, shape):
                wanted = list(said.shape) if said.shape is not None else f" of {said.elements} elements"
                yield f"{role} '{info.name}' is {kind}{list(shape)}, the file says {said.dtype}{wanted}"


def _sizes(proto: onnx.ModelProto, shapes: Worker) -> Iterator[str]:
    """Every tensor has a size that is known now, and those held at once are no more than the edges explain."""
    try:
        data = shapes(proto.SerializeToString())
    except (*NotValid, Died) as error:
        yield f"its shapes cannot be told: {first_line(error)}"
        return
    graph = onnx.ModelProto.FromString(data).graph
    edges = sum(math.prod(_shape(info) or (0,)) for info in (*graph.input, *graph.output))
    left, later = min(LARGEST, SMALL + BESIDE_DECLARED * edges) - edges, LONGEST
    for scope in _scopes(graph, _Scope(graph, {}, {})):
        for index, node in enumerate(scope.graph.node):
            yield from (f"node '{node_name(node, index)}': {what}" for what in scope.wrong(node))
            later -= scope.elements(node)
        left -= scope.most_at_once()
    if left < 0:
        yield f"its tensors take {-left} elements at once more than its inputs and outputs explain"
    if later < 0:
        yield f"its nodes make {LONGEST - later} elements, more than {LONGEST}"


class _Scope(NamedTuple):
    """A graph or a body, and all that its nodes see: tensors by name, and constants among them."""

    graph: onnx.GraphProto
    infos: Mapping[str, onnx.ValueInfoProto]
    constants: Mapping[str, onnx.TensorProto]

    def shape(self, name: str) -> tuple[int, ...] | None:
        if name in self.constants:
            return tuple(self.constants[name].dims)
        return _shape(self.infos[name]) if name in self.infos else None

    def elements(self, node: onnx.NodeProto) -> int:
        """That a node makes, as far as that is known."""
        return sum(math.prod(self.shape(made) or (0,)) for made in node.output)

    def most_at_once(self) -> int:
        """Elements of what its nodes make, as many as are alive together: each until its last reader has run."""
        last = {name: at for at, node in enumerate(self.graph.node) for name in (*node.input, *captured(node))}
        last.update({info.name: len(self.graph.node) for info in self.graph.output})
        leaves = [0] * (len(self.graph.node) + 1)
        alive = most = 0
        for at, node in enumerate(self.graph.node):
            alive += self.elements(node)
            for made in node.output:
                leaves[last.get(made, at)] += math.prod(self.shape(made) or (0,))
            most = max(most, alive)
            alive -= leaves[at]
        return most

    def wrong(self, node: onnx.NodeProto) -> Iterator[str]:
        """Sizes that nothing tells, and what would not end, or end the process."""
        unknown = next((name for name in node.output if name and self.shape(name) is None), None)
        if unknown is not None and node.op_type in GROWING:
            yield f"nothing tells the size of '{unknown}'"
        taps = math.prod(abs(k) for a in node.attribute if a.name == "kernel_shape" for k in a.ints)
        if taps > MOST_TAPS and taps > math.prod(self.shape(node.input[0] if node.input else "") or ()):
            yield f"a kernel of {taps} elements, more than it slides over"
        if node.op_type in DIVISIONS and self._traps(node):
            yield f"{node.op_type} {TRAP}"

    def _traps(self, node: onnx.NodeProto) -> bool:
        name = node.input[1] if len(node.input) > 1 else ""
        if name in self.constants:
            divisor = numpy_helper.to_array(self.constants[name])
            return traps(node.op_type, divisor, integers=divisor.dtype.kind in "iu")
        kind = self.infos[name].type.tensor_type.elem_type if name in self.infos else TensorProto.UNDEFINED
        return traps(node.op_type, None, integers=kind not in _FLOATING)


def _scopes(graph: onnx.GraphProto, outer: _Scope) -> Iterator[_Scope]:
    """A graph and the bodies in it."""
    infos = {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is not None:
            constants[node.output[0]] = value
    scope = _Scope(graph, {**outer.infos, **infos}, {**outer.constants, **constants})
    yield scope
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _scopes(attribute.g, scope)


def _shape(info: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """None where an extent is open or negative."""
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims = tuple(int(d.dim_value) if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return None if min(dims, default=0) < 0 else dims


def _dtype(info: onnx.ValueInfoProto) -> str:
    kind = info.type.tensor_type.elem_type
    known = kind in helper.get_all_tensor_dtypes() and kind != TensorProto.STRING
    return str(helper.tensor_dtype_to_np_dtype(kind).name) if known else ""
