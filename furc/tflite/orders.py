"""Which tensors are best had as n, c, h, w: what an operator takes as an image, and what leads there in either order.

Only for speed: whatever order a tensor is in, it is turned where somebody asks for the other.
"""

from __future__ import annotations

from furc.tflite.elementwise import BINARY, UNARY
from furc.tflite.model import Model

OF_IMAGES = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR",
    "RESIZE_BILINEAR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
}  # fmt: skip
OF_EITHER_ORDER = {
    *UNARY, *BINARY, "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "QUANTIZE", "DEQUANTIZE", "PAD", "PADV2",
    "CONCATENATION", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V",
}  # fmt: skip


def images(model: Model) -> set[int]:
    """The tensors of four axes, by their number in the file."""
    found: set[int] = set()
    for operator in reversed(model.operators):
        leads = operator.op in OF_EITHER_ORDER and not found.isdisjoint(operator.outputs)
        if leads or operator.op in OF_IMAGES:
            found.update(n for n in operator.inputs if n >= 0 and model.tensors[n].rank == 4)
    return found
