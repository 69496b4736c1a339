"""The 256 entries of a table: the function of one int8 tensor, computed by ONNX Runtime itself.

The float operators run one by one, without graph optimizations, on all 256 dequantized values. So a table holds
what ONNX Runtime gives, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from furc.onnx.run import RunModel
from isa.execute import numerics
from passes.ir.op import Array
from passes.ir.types import Quant

Float32 = NDArray[np.float32]
IR_VERSION = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One float operator of one tensor: a serialized model from 'x' to 'y', both float32 [256]."""

    model: bytes


def step(node: onnx.NodeProto, constants: Mapping[int, Array], opset: int) -> Step:
    """The operator of a node as a function of one operand. constants: what the other inputs hold, by position."""
    names = ["x"] * len(node.input)
    for index, name in enumerate(node.input):
        if index in constants:
            names[index] = f"c{index}"
        elif not name:
            names[index] = ""
    alone = helper.make_node(node.op_type, names, ["y"])
    alone.attribute.extend(node.attribute)
    holding = [numpy_helper.from_array(array.reshape(()), f"c{index}") for index, array in constants.items()]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [256]) for name in "xy")
    graph = helper.make_graph([alone], "step", [x], [y], holding)
    opsets = [helper.make_opsetid("", opset)]
    return Step(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())


def with_itself(node: onnx.NodeProto, chain: Sequence[Step], gate: int, opset: int) -> Step:
    """A node of two operands, x and what a chain makes of it, as one function of x. gate: which operand is the chain's.

    So the gate is not rounded on the way, as where a model has no QuantizeLinear between Sigmoid and Mul.
    """
    nodes, holding, last = list[onnx.NodeProto](), list[TensorProto](), "x"
    for index, one in enumerate(chain):
        body = onnx.load_model_from_string(one.model).graph
        names = {i.name: f"{i.name}.{index}" for i in body.initializer} | {"x": last, "y": f"y.{index}"}
        for inner in body.node:
            copy = helper.make_node(
                inner.op_type, [names.get(n, n) for n in inner.input], [names.get(n, n) for n in inner.output]
            )
            copy.attribute.extend(inner.attribute)
            nodes.append(copy)
        for held in body.initializer:
            holding.append(numpy_helper.from_array(numpy_helper.to_array(held), names[held.name]))
        last = f"y.{index}"
    operands = ["x", "x"]
    operands[gate] = last
    nodes.append(helper.make_node(node.op_type, operands, ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [256]) for name in "xy")
    graph = helper.make_graph(nodes, "step", [x], [y], holding)
    opsets = [helper.make_opsetid("", opset)]
    return Step(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())


@cache
def _run(model: bytes) -> RunModel:
    return RunModel(model, plain=True, threads=1)


def grid(quant: Quant) -> Float32:
    """The real values of -128 ... 127, float32 [256]."""
    return numerics.dequantize(np.arange(-128, 128, dtype=np.int8), quant.s, quant.z)


@cache
def _applied(chain: tuple[Step, ...], quant: Quant) -> bytes:
    values = grid(quant)
    for one in chain:
        values = _run(one.model)({"x": values})["y"]
    return values.astype(np.float32).tobytes()


def applied(chain: tuple[Step, ...], quant: Quant) -> Float32:
    """What the operators give for each of the 256 values, float32 [256]."""
    return np.frombuffer(_applied(chain, quant), np.float32)


def quantized(values: Float32, quant: Quant) -> NDArray[np.int8]:
    """int8 form; a value that is not a number becomes the lowest, as in ONNX Runtime."""
    return numerics.quantize(np.where(np.isnan(values), np.float32(-np.inf), values), quant.s, quant.z)
