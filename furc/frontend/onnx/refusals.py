"""Why an operator is refused, in the words users know from the vendor's compiler, and what to do about it."""

from __future__ import annotations

from furc.frontend.onnx.node import CUT, Node
from isa.errors import LowerError
from passes.dfg.legality import without

EXPORT = "export the model again; onnx.checker.check_model(path, full_check=True) may say more"
Q_OPERATOR = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantize")


def refusal(node: Node, shape: tuple[int, ...] | None = None) -> LowerError:
    """The error for an operator without importer. shape: of the first input."""
    name = ".".join(part for part in (node.proto.domain, node.op) if part)
    if node.op.startswith(Q_OPERATOR):
        hint = "quantize the float model in QDQ form: furc quantize, or quant_format=QuantFormat.QDQ in onnxruntime"
        return node.unsupported(f"'{name}' is of the operator form of quantization, which furc does not read", hint)
    return node.unsupported(f"'{name}' cannot be accelerated yet", without(node.op, CUT))
