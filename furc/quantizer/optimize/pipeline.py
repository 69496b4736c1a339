"""The order of the float passes, and why each stands where it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from furc.isolated import Worker
from furc.onnx.files import Source, in_file, load
from furc.onnx.graph import Graph, Node
from furc.onnx.half import in_single
from furc.onnx.model_proto import fixed_inputs, lightened, opset_of
from furc.onnx.soundness import CHECK, check_by_onnx, node_name, onnx_checker
from furc.onnx.traps import TRAP
from furc.quantizer.grids.operators import LINEAR
from furc.quantizer.optimize.conv1d import widen_conv1d
from furc.quantizer.optimize.fold_affine import fold_affine
from furc.quantizer.optimize.fold_constants import fold_constants, may_trap
from furc.quantizer.optimize.fold_pad import fold_pad
from furc.quantizer.optimize.l2_normalize import l2_normalize
from furc.quantizer.optimize.max_pools import max_pools
from furc.quantizer.optimize.merge_branches import merge_branches
from furc.quantizer.optimize.opset import PLACED_RESIZES, convert_opset
from furc.quantizer.optimize.plain_ops import plain_ops
from furc.quantizer.optimize.prelu import prelu
from furc.quantizer.optimize.remove_identity import remove_identity
from isa.errors import Loc, QuantizeError, SourceError, counted

OWN_DOMAINS = ("", "ai.onnx")
LARGEST = 1 << 27  # elements of a tensor: half a GiB in float32, eight times the SRAM in int8

PASSES: tuple[Callable[[Graph], None], ...] = (  # once constants are folded, see fold_all
    remove_identity,  # before fold_affine, so that a Dropout does not stand between a Conv and its BatchNorm
    l2_normalize,  # before plain_ops: Clip and Div are as exporters write them
    plain_ops,  # before fold_affine: a Gemm's alpha and beta would be in the way
    prelu,  # behind plain_ops, which takes those with one slope
    max_pools,  # anywhere
    fold_pad,  # before fold_affine: needs no order, but fewer nodes are cheaper
    fold_affine,
    merge_branches,  # behind fold_affine: branches end in a BatchNorm each
    fold_affine,  # what stands behind the sum of branches
    widen_conv1d,  # last: what follows a 1-D Conv folds into it while it still is directly behind
)


def optimize_model(
    model: Source, input_shapes: Mapping[str, Sequence[int]] | None = None, opset_version: int = 13
) -> onnx.ModelProto:
    """The float model in the form that is calibrated and quantized: same inputs, outputs and results, fewer nodes.

    input_shapes: extents of graph inputs whose shape the model leaves open. Tensors that survive keep their names.
    Raises SourceError for a damaged model, QuantizeError[UnknownInput, OpsetConversion, BadModel,
    NotFloat32, NotFinite].
    """
    return optimize_graph(model, input_shapes, opset_version).model()


def optimize_graph(
    model: Source, input_shapes: Mapping[str, Sequence[int]] | None = None, opset_version: int = 13
) -> Graph:
    """As `optimize_model`, left taken apart."""
    with in_file(model):
        with onnx_checker() as checker:
            loaded = in_single(load(model))
            if input_shapes:
                _check_names(loaded, input_shapes)
                loaded = fixed_inputs(loaded, input_shapes)
            _check_by_onnx(loaded, checker)
        return _optimized(loaded, opset_version)


def optimize_shapes(
    loaded: onnx.ModelProto, weights: Mapping[str, Sequence[int]], opset_version: int = 13
) -> tuple[Graph, list[str]]:
    """A model of whose weights the shapes alone are known, and the names of the nodes that compute from its inputs
    before any are left out or folded. weights: they are inputs of the model; in the graph, constants of ones.

    Raises QuantizeError[OpsetConversion, BadModel, TensorTooLarge].
    """
    graph = Graph(convert_opset(_with_known_scales(loaded), opset_version))
    graph.inputs = [name for name in graph.inputs if name not in weights]
    graph.constants.update((name, np.broadcast_to(np.float32(1), shape)) for name, shape in weights.items())
    _infer(graph)
    fold_all(graph)
    computing = [node.name for node in graph.nodes]
    for run in PASSES:
        _apply(run, graph)
    return graph, computing


def _optimized(loaded: onnx.ModelProto, opset_version: int) -> Graph:
    if all(node.domain in OWN_DOMAINS for node in loaded.graph.node):
        _forget_shapes(loaded)
    graph = Graph(convert_opset(_with_known_scales(loaded), opset_version))
    _infer(graph)
    fold_all(graph)
    for run in PASSES:
        _apply(run, graph)
    for node in graph.nodes:
        _check_linear(graph, node)
    return graph


def _with_known_scales(loaded: onnx.ModelProto) -> onnx.ModelProto:
    """Scales that an old Resize computes from shapes, folded: `convert_opset` goes by whether they shrink."""
    if opset_of(loaded) >= PLACED_RESIZES:
        return loaded
    graph = Graph(loaded)
    known = {"", *graph.constants, *(node.output for node in graph.nodes if node.op == "Constant")}
    if all(node.op not in ("Resize", "Upsample") or node.input(1) in known for node in graph.nodes):
        return loaded
    _infer(graph)
    fold_all(graph)
    return graph.model()


def fold_all(graph: Graph) -> None:
    """Constants folded until nothing changes: shapes that folding made known make further Shape nodes constant."""
    while True:
        before = len(graph.nodes)
        _apply(fold_constants, graph)
        if len(graph.nodes) == before:
            break
    for node in graph.nodes:
        if may_trap(graph, node):
            raise QuantizeError("BadModel", f"{node.op} {TRAP}: that ends the process", at=node.loc, hint=CHECK)


def _apply(run: Callable[[Graph], None], graph: Graph) -> None:
    """Run a pass, and infer shapes again where it changed anything: inference costs more than most passes.

    Raises QuantizeError BadModel where the pass trips."""
    before, held = _fingerprint(graph), [*graph.constants.values()]  # held: else another array may take its id
    try:
        run(graph)
    except (ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise QuantizeError("BadModel", f"{run.__name__}: {error}", hint=CHECK) from error
    same = _fingerprint(graph) == before
    del held
    if not same:
        _infer(graph)


def _fingerprint(graph: Graph) -> object:
    """What shapes follow from. A constant that was set anew counts as another one, whatever it holds."""
    nodes = [
        (node.op, *node.inputs, *node.outputs, *((key, a.SerializeToString()) for key, a in node.attributes.items()))
        for node in graph.nodes
    ]
    return nodes, {name: id(value) for name, value in graph.constants.items()}, [*graph.inputs], [*graph.outputs]


def _forget_shapes(model: onnx.ModelProto) -> None:
    """What a file says of shapes that follow from others may be wrong; inference finds them again."""
    del model.graph.value_info[:]
    for info in model.graph.output:
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")


def _check_linear(graph: Graph, node: Node) -> None:
    """Weights and bias go together: the first to trip over it may be far behind. Raises QuantizeError BadModel."""
    weight, bias = graph.constants.get(node.input(1)), graph.constants.get(node.input(2))
    if node.op in LINEAR and weight is not None and weight.dtype in (np.float16, np.float64):
        what = f"the weights of {node.op} are {weight.dtype.name}, what is quantized is float32"
        raise QuantizeError("NotFloat32", what, at=node.loc, hint="export the model in float32")
    if node.op in LINEAR and weight is not None and not np.isfinite(weight).all():
        raise QuantizeError("NotFinite", f"the weights of {node.op} hold NaN or infinity", at=node.loc, hint=CHECK)
    if node.op not in ("Conv", "ConvTranspose") or weight is None:
        return
    if weight.ndim < 3 or 0 in weight.shape:
        raise QuantizeError("BadModel", f"{node.op} with weights of {list(weight.shape)}", at=node.loc, hint=CHECK)
    channels = weight.shape[0] if node.op == "Conv" else weight.shape[1] * int(node.get("group", 1))
    if bias is not None and bias.shape != (channels,):
        what = f"{node.op}: a bias of {list(bias.shape)} for {counted(channels, 'output channel')}"
        raise QuantizeError("BadModel", what, at=node.loc, hint=CHECK)


def _check_by_onnx(model: onnx.ModelProto, checker: Worker) -> None:
    """Without the names and shapes on which onnx insists and ONNX Runtime does not."""
    light = lightened(model)
    del light.graph.value_info[:]
    for info in (*light.graph.input, *light.graph.output):
        if info.type.HasField("tensor_type") and not info.type.tensor_type.HasField("shape"):
            info.type.tensor_type.shape.SetInParent()
    if not light.graph.output:
        raise SourceError("InvalidGraph", "the model has no outputs", hint=CHECK)
    check_by_onnx(light, checker)


def _check_names(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    names = [i.name for i in model.graph.input]
    for name in shapes:
        if name not in names:
            raise QuantizeError(
                "UnknownInput", f"input_shapes names '{name}', the model has the inputs {', '.join(names) or 'none'}"
            )


def _infer(graph: Graph) -> None:
    """Shapes anew, all of which some tensor can have. Raises QuantizeError[BadModel, TensorTooLarge]."""
    graph.infer()
    for name in (*graph.inputs, *(name for node in graph.nodes for name in node.outputs if name)):
        extents = [extent for extent in graph.extents(name) or () if extent is not None]
        maker = graph.producer(name)
        at = Loc(nodes=(node_name(maker.proto(), 0),)) if maker is not None else Loc(detail=f"input '{name}'")
        if min(extents, default=1) < 0:
            raise QuantizeError("BadModel", f"tensor '{name}' would be {extents}", at=at, hint=CHECK)
        if math.prod(extents) > LARGEST:
            what = f"tensor '{name}' is {extents}: more than {LARGEST} elements"
            raise QuantizeError("TensorTooLarge", what, at=at, hint="check the shapes the model computes")
