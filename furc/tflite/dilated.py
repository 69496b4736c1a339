"""SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND: how TensorFlow writes a dilated convolution of an open batch.

before: p = SPACE_TO_BATCH_ND(x, block, paddings); c = CONV_2D(p); y = BATCH_TO_SPACE_ND(c, block, crops)
after:  y = CONV_2D(x), its dilation the block, its pads the paddings without what is cropped
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import tflite

from furc.tflite.model import Model, Operator, Spread

HINT = "convert the model with a fixed batch: a dilated convolution is one operator then"
BLOCKS = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def spread(model: Model) -> Model:
    """With such three as one; what is left of them is refused later."""
    makers = {output: operator for operator in model.operators for output in operator.outputs}
    readers = Counter(number for operator in model.operators for number in operator.inputs)
    readers.update(model.outputs)
    merged: dict[int, Operator] = {}
    dropped: set[int] = set()
    for last in model.operators:
        conv = makers.get(last.inputs[0]) if last.op == "BATCH_TO_SPACE_ND" else None
        first = makers.get(conv.inputs[0]) if conv is not None and conv.op in CONVOLUTIONS else None
        if conv is None or first is None or first.op != "SPACE_TO_BATCH_ND":
            continue
        found = _spread(model, first, conv, last)
        if found is not None and readers[first.outputs[0]] == readers[conv.outputs[0]] == 1:
            merged[last.index] = replace(
                conv, inputs=(first.inputs[0], *conv.inputs[1:]), outputs=last.outputs, label=last.label, spread=found
            )
            dropped |= {first.index, conv.index}
    operators = tuple(merged.get(o.index, o) for o in model.operators if o.index not in dropped)
    return replace(model, operators=operators)


def _spread(model: Model, first: Operator, conv: Operator, last: Operator) -> Spread | None:
    """Where the three are one convolution."""
    blocks = [_ints(model, operator, 1) for operator in (first, last)]
    paddings, crops = (_ints(model, operator, 2) for operator in (first, last))
    if len(blocks[0]) != 2 or blocks[0] != blocks[1] or not len(paddings) == len(crops) == 4:
        return None
    one = all(conv.option(name, 1) == 1 for name in ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor"))
    pads = [padding - crop for padding, crop in zip(paddings, crops, strict=True)]
    same = all(_same_grid(model, operator) for operator in (first, last))
    if not one or not same or min(pads) < 0 or conv.option("Padding") != tflite.Padding.VALID:
        return None
    return Spread(dilation=(blocks[0][0], blocks[0][1]), pads=(pads[0], pads[2], pads[1], pads[3]))


def _same_grid(model: Model, operator: Operator) -> bool:
    x, y = model.tensors[operator.inputs[0]], model.tensors[operator.outputs[0]]
    return x.rank == y.rank == 4 and np.array_equal(x.scale, y.scale) and np.array_equal(x.zero, y.zero)


def _ints(model: Model, operator: Operator, index: int) -> list[int]:
    """The values of a constant operand; none where it is computed."""
    data = model.tensors[operator.inputs[index]].data if operator.has_input(index) else None
    return [] if data is None else [int(value) for value in data.reshape(-1)]
