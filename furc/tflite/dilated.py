"""SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND: how TensorFlow writes a dilated convolution of an open batch.

before: p = SPACE_TO_BATCH_ND(x, block, paddings); c = CONV_2D(p); y = BATCH_TO_SPACE_ND(c, block, crops)
after:  y = CONV_2D(x), its dilation the block, its pads the paddings without what is cropped

One over a single axis (Conv1D) stands between EXPAND_DIMS and SQUEEZE, which stay: around the image, not around blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import tflite

from furc.tflite.model import Model, Operator, Spread, Tensor

HINT = "convert the model with a fixed batch: a dilated convolution is one operator then"
BLOCKS = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
ADDS_ROW, DROPS_ROW = ("EXPAND_DIMS", "RESHAPE"), ("SQUEEZE", "RESHAPE")


class _Blocks(NamedTuple):
    """A convolution over blocks. expand, squeeze: around one over a single axis, which becomes an image of one row."""

    first: Operator
    expand: Operator | None
    conv: Operator
    squeeze: Operator | None
    last: Operator

    @property
    def between(self) -> tuple[Operator, ...]:
        """All but the last: what they make nobody else may read."""
        return tuple(o for o in (self.first, self.expand, self.conv, self.squeeze) if o is not None)

    @property
    def moves(self) -> tuple[Operator, ...]:
        return tuple(o for o in (self.first, self.expand, self.squeeze, self.last) if o is not None)


def spread(model: Model) -> Model:
    """With such three, or five, as one convolution; what is left of them is refused later."""
    makers = {output: operator for operator in model.operators for output in operator.outputs}
    readers = Counter(number for operator in model.operators for number in operator.inputs)
    readers.update(model.outputs)
    merged: dict[int, Operator | None] = {}
    tensors = list(model.tensors)
    for last in model.operators:
        blocks = _blocks(makers, last)
        found = None if blocks is None else _spread(model, blocks)
        if blocks is None or found is None or any(readers[o.outputs[0]] != 1 for o in blocks.between):
            continue
        first, expand, conv, squeeze, _ = blocks
        merged |= dict.fromkeys(o.index for o in (first, conv, last))
        if expand is None or squeeze is None:
            merged[last.index] = replace(
                conv, inputs=(first.inputs[0], *conv.inputs[1:]), outputs=last.outputs, label=last.label, spread=found
            )
            continue
        merged[expand.index] = replace(expand, inputs=(first.inputs[0],))
        merged[conv.index] = replace(conv, spread=found)
        merged[squeeze.index] = replace(squeeze, inputs=(conv.outputs[0],), outputs=last.outputs, label=last.label)
        for number, whole in ((expand.outputs[0], first.inputs[0]), (conv.outputs[0], last.outputs[0])):
            shape, axes = _with_row(model.tensors[whole])
            tensors[number] = replace(model.tensors[number], shape=shape, open=axes)
    operators = tuple(kept for o in model.operators if (kept := merged.get(o.index, o)) is not None)
    return replace(model, tensors=tuple(tensors), operators=operators)


def _blocks(makers: Mapping[int, Operator], last: Operator) -> _Blocks | None:
    """What leads to the end of such operators."""
    if last.op != "BATCH_TO_SPACE_ND":
        return None
    squeeze, conv = _behind(makers, last, DROPS_ROW)
    expand, first = (None, None) if conv is None else _behind(makers, conv, ADDS_ROW)
    if conv is None or conv.op not in CONVOLUTIONS or first is None or first.op != "SPACE_TO_BATCH_ND":
        return None
    return _Blocks(first, expand, conv, squeeze, last)


def _behind(makers: Mapping[int, Operator], reader: Operator, row: tuple[str, ...]) -> tuple[Operator | None, ...]:
    """An operator that adds or drops a row, where there is one, and what makes the operand."""
    maker = makers.get(reader.inputs[0])
    return (maker, makers.get(maker.inputs[0])) if maker is not None and maker.op in row else (None, maker)


def _spread(model: Model, blocks: _Blocks) -> Spread | None:
    """Where they are one convolution."""
    first, expand, conv, squeeze, last = blocks
    axes = 2 if expand is None and squeeze is None else 1
    sizes = [_ints(model, operator, 1) for operator in (first, last)]
    paddings, crops = (_ints(model, operator, 2) for operator in (first, last))
    if len(sizes[0]) != axes or sizes[0] != sizes[1] or not len(paddings) == len(crops) == 2 * axes:
        return None
    one = all(conv.option(name, 1) == 1 for name in ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor"))
    pads = [padding - crop for padding, crop in zip(paddings, crops, strict=True)]
    same = all(_same_grid(model, operator) for operator in blocks.moves)
    if not one or not same or min(pads) < 0 or conv.option("Padding") != tflite.Padding.VALID:
        return None
    ranks = [model.tensors[number].rank for o in (first, last) for number in (o.inputs[0], o.outputs[0])]
    if ranks != [axes + 2] * 4:
        return None
    if axes == 2:
        return Spread(dilation=(sizes[0][0], sizes[0][1]), pads=(pads[0], pads[2], pads[1], pads[3]))
    if expand is None or squeeze is None:
        return None
    rows = ((expand.inputs[0], expand.outputs[0]), (squeeze.outputs[0], squeeze.inputs[0]))
    if not all(_is_row(model.tensors[short], model.tensors[image]) for short, image in rows):
        return None
    return Spread(dilation=(1, sizes[0][0]), pads=(0, pads[0], 0, pads[1]))


def _same_grid(model: Model, operator: Operator) -> bool:
    x, y = model.tensors[operator.inputs[0]], model.tensors[operator.outputs[0]]
    return np.array_equal(x.scale, y.scale) and np.array_equal(x.zero, y.zero)


def _with_row(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Extents and open axes of n, w, c as an image of one row."""
    n, w, c = tensor.shape
    return (n, 1, w, c), tuple(axis + (axis > 0) for axis in tensor.open)


def _is_row(short: Tensor, image: Tensor) -> bool:
    """n, 1, w, c of the same n, w, c, of which n alone may be open."""
    return _with_row(short) == (image.shape, image.open) and set(image.open) <= {0}


def _ints(model: Model, operator: Operator, index: int) -> list[int]:
    """The values of a constant operand; none where it is computed."""
    data = model.tensors[operator.inputs[index]].data if operator.has_input(index) else None
    return [] if data is None else [int(value) for value in data.reshape(-1)]
