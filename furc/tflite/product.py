"""BATCH_MATMUL: the product of two tensors that are both computed, as attention has it."""

from __future__ import annotations

from furc.tflite.model import Operator
from furc.tflite.registry import operator
from furc.tflite.writer import Writer


@operator("BATCH_MATMUL")
def batch_matmul(writer: Writer, node: Operator) -> None:
    """Each operand may come with its last two axes in turn."""
    operands = [_operand(writer, node.inputs[i], node.option(f"Adj{side}")) for i, side in enumerate("XY")]
    writer.result(node.outputs[0], writer.emit("MatMul", operands))


def _operand(writer: Writer, number: int, turned: int) -> str:
    shape, name = writer.tensor(number).shape, writer.plain(number)
    if not turned:
        return name
    *outer, rows, columns = range(len(shape))
    return writer.on_grid(number, writer.turned(name, shape, [*outer, columns, rows]))
