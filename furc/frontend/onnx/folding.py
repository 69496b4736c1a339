"""Constant folding: a node whose inputs are all known is computed when it is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from onnx import AttributeProto, TypeProto, ValueInfoProto, helper

from furc.frontend.entries import Constant, Entry, QuantizedConstant
from furc.frontend.onnx.node import Node
from furc.onnx.traps import TRAP, traps
from isa.errors import LowerError
from passes.ir.op import Array

RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
LARGEST = 2**28  # elements of a folded constant; beyond it the model is hostile or not a network


def foldable(node: Node, entries: Sequence[Entry | None]) -> bool:
    """Every input is known, and the result is the same each time."""
    subgraphs = any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.proto.attribute)
    known = all(e is None or isinstance(e, Constant | QuantizedConstant) for e in entries)
    return known and not subgraphs and node.op not in RANDOM


def evaluate(node: Node, arrays: Sequence[Array | None]) -> list[Array]:
    """What the node gives for these inputs. Raises SourceError InvalidGraph where they do not fit it."""
    from onnx.reference import ReferenceEvaluator  # here: quantized models seldom have anything left to fold

    _check_size(node, arrays)
    divisor = arrays[1] if len(arrays) > 1 else None
    if divisor is not None and traps(node.op, divisor, integers=divisor.dtype.kind in "iu"):
        raise node.invalid(f"a division {TRAP}")
    feeds = {f"i{i}": array for i, array in enumerate(arrays) if array is not None}
    names = [f"i{i}" if array is not None else "" for i, array in enumerate(arrays)]
    alone = helper.make_node(node.op, names, [f"o{i}" for i, _ in enumerate(node.outputs)])
    alone.attribute.extend(node.proto.attribute)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()
    ]
    outputs = [ValueInfoProto(name=name, type=TypeProto()) for name in alone.output]
    graph = helper.make_graph([alone], "folded", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the evaluator raises whatever its NumPy code meets
        raise node.invalid(f"it cannot be computed from its constant inputs: {error}") from error
    return [np.asarray(result) for result in results]


def _check_size(node: Node, arrays: Sequence[Array | None]) -> None:
    size = GROWING[node.op]([a for a in arrays if a is not None]) if node.op in GROWING and arrays else 0
    if size > LARGEST:
        hint = "check the shapes the model computes"
        raise LowerError("TensorTooLarge", f"{node.op} makes a constant of {size:.3g} elements", at=node.loc, hint=hint)


def _shape_given(arrays: Sequence[Array]) -> float:
    return math.prod(float(d) for d in arrays[-1].reshape(-1))


def _tiled(arrays: Sequence[Array]) -> float:
    return arrays[0].size * _shape_given(arrays)


def _ranged(arrays: Sequence[Array]) -> float:
    start, limit, delta = (float(a.reshape(-1)[0]) for a in arrays)
    return (limit - start) / delta if delta else math.inf


GROWING: dict[str, Callable[[Sequence[Array]], float]] = {
    "ConstantOfShape": _shape_given,
    "Expand": lambda arrays: arrays[0].size * _shape_given(arrays),
    "Tile": _tiled,
    "Range": _ranged,
    "OneHot": lambda arrays: arrays[0].size * float(arrays[1].reshape(-1)[0]),
    "Resize": lambda arrays: arrays[0].size * max(1.0, _shape_given(arrays)),
    "Pad": lambda arrays: arrays[0].size + float(np.abs(arrays[1].astype(np.float64)).sum()) ** 2,
    "EyeLike": lambda arrays: float(arrays[0].size),
}


class Kept(NamedTuple):
    """A quantized constant stays one when moved. axis: where its channels are afterwards."""

    axis: int | None


def _if_per_tensor(node: Node, constant: QuantizedConstant) -> Kept | None:
    return Kept(None) if constant.axis is None else None


def _same(node: Node, constant: QuantizedConstant) -> Kept | None:
    return Kept(constant.axis)


def _transposed(node: Node, constant: QuantizedConstant) -> Kept | None:
    if constant.axis is None:
        return Kept(None)
    perm = node.integers("perm", ()) or list(range(constant.stored.ndim))[::-1]
    return Kept(perm.index(constant.axis))


FOLDABLE_MOVES: dict[str, Callable[[Node, QuantizedConstant], Kept | None]] = {
    "Identity": _same,
    "Transpose": _transposed,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Expand"), _if_per_tensor),
}
