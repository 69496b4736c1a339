"""Why an operator is refused, in the words users know from the vendor's compiler, and what to do about it."""

from __future__ import annotations

from furc.frontend.onnx.node import CUT, Node
from isa.errors import LowerError

Q_OPERATOR = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantize")
HINTS = {
    "BatchNormalization": "fold it into the Conv before quantizing, as furc quantize does",
    "Tanh": "replace it by an operator of the NPU, such as Sigmoid, or cut the model before this node",
    "LeakyRelu": "replace it by Relu and train or quantize again, or cut the model before this node",
    "HardSwish": "export it as Add, Clip, Mul and Mul, or replace it by Relu",
    "HardSigmoid": "export it as Mul, Add and Clip, or replace it by Sigmoid",
    "GlobalMaxPool": "export it as a MaxPool with the kernel as large as the image",
    "Upsample": "use nearest neighbours and integer factors, or cut the model before this node",
    "Resize": "use nearest neighbours and integer factors, or cut the model before this node",
}


def refusal(node: Node, shape: tuple[int, ...] | None = None) -> LowerError:
    """The error for an operator without importer. shape: of the first input."""
    name = ".".join(part for part in (node.proto.domain, node.op) if part)
    if node.op.startswith(Q_OPERATOR):
        hint = "quantize the float model in QDQ form: furc quantize, or quant_format=QuantFormat.QDQ in onnxruntime"
        return node.unsupported(f"'{name}' is of the operator form of quantization, which furc does not read", hint)
    return node.unsupported(f"'{name}' cannot be accelerated yet", HINTS.get(node.op, CUT))
