"""What the quantizer knows of each operator: whether it computes in INT8, and which grid its result is on."""

from __future__ import annotations

from furc.onnx.graph import Graph, Node
from furc.onnx.moves import MOVES
from furc.quantizer.grids.affine import Range

LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}  # weights are their second input
CORRECTED = {"Conv", "ConvTranspose", "Gemm"}  # layers that take out the errors that reach them, compensate.py
BROADCAST = {"Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum"}  # constants among their inputs are quantized

COMPUTES = {
    "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Softplus", "Softsign",
    "Mish", "Gelu", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg", "Pow", "Relu", "Clip", "Softmax",
    "AveragePool", "GlobalAveragePool", "LpNormalization", "ReduceMean", "ReduceSum", "ReduceL2", "ReduceMax",
    "BatchNormalization", "Concat", "Pad", "Resize",
}  # fmt: skip

QUANTIZED = MOVES | LINEAR | BROADCAST | COMPUTES

# Only the clamped result is of interest where one of these reads the result of one of FUSES.
CLAMPS = {"Relu", "Clip"}
FUSES = LINEAR | {"Add", "Sub", "Mul"}

FIXED_RANGES: dict[str, Range] = {"Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0)}


def is_quantized(graph: Graph, node: Node) -> bool:
    """Whether a node computes on int8 tensors."""
    if node.domain not in ("", "ai.onnx") or node.op not in QUANTIZED or not graph.is_float(node.output):
        return False
    if graph.stays_float(node):
        return False
    if node.op in ("PRelu", "Pow", "BatchNormalization"):  # their other operands must not change from run to run
        return all(name in graph.constants for name in node.inputs[1:])
    return True


def fused_clamp(graph: Graph, node: Node) -> Node | None:
    """The Relu or Clip that is the only reader of a node's result, so that nobody sees the result itself."""
    if node.op not in FUSES or not is_quantized(graph, node):
        return None
    reader = graph.only_reader(node.output)
    if reader is None or reader.op not in CLAMPS or reader.inputs[0] != node.output:
        return None
    return reader if all(name in graph.constants for name in reader.inputs[1:] if name) else None


def data_inputs(graph: Graph, node: Node) -> list[str]:
    """The inputs of a quantized node that are activations."""
    first = node.inputs if node.op in BROADCAST | {"Concat", "MatMul"} else node.inputs[:1]
    if node.op in ("Conv", "ConvTranspose", "Gemm"):
        first = node.inputs[:2]
    return [name for name in first if name and name not in graph.constants and graph.is_float(name)]


def clip_bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Lower and upper bound of a Clip or Relu, None where one is computed at run time."""
    if node.op == "Relu":
        return 0.0, float("inf")
    bounds = []
    for index, missing in ((1, -float("inf")), (2, float("inf"))):
        name = node.input(index)
        if name and name not in graph.constants:
            return None
        bounds.append(float(graph.constants[name].reshape(())) if name else missing)
    return bounds[0], bounds[1]
