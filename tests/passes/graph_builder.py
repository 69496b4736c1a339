"""Build small dfg graphs by hand: seeded weights, one line an op, shapes by the ops' own rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from isa.errors import Loc
from passes.ir.attributes import Kernel
from passes.ir.graph import Graph, Names
from passes.ir.levels import verify
from passes.ir.op import Array, Level, Op, Value
from passes.ir.types import DType, Quant, TensorType, dtype_of, float32, per_tensor
from passes.ops.conv import Conv2d
from passes.ops.host import Dequantize, Quantize, Recast

Q = per_tensor(1 / 32, -3)


class Builder:
    """A graph in the making. Methods take and give values; names are fresh."""

    def __init__(self, seed: int = 0, name: str = "test") -> None:
        self.graph = Graph(name=name, level=Level.DFG)
        self.rng = np.random.default_rng(seed)
        self.names = Names(())

    def image(self, shape: tuple[int, ...], quant: Quant = Q, kind: DType = DType.F32) -> Value:
        """A graph input; int8 behind a quantize or recast, where its kind asks for one."""
        value = Value(self.names.fresh("image"), TensorType(shape, kind, _stored(quant, kind)))
        self.graph.inputs.append(value)
        self.graph.batch = shape[0]
        if kind is DType.I8:
            return value
        self.shape = shape
        return self.op(Quantize if kind is DType.F32 else Recast, quant, x=value)

    def op(self, cls: type[Op], quant: Quant | None, **fields: object) -> Value:
        """Any op, shaped by its own rule."""
        name = self.names.fresh(cls.mnemonic)
        value = Value(name, TensorType((), DType.I8, quant))
        op = cls(results=(value,), loc=Loc("", (f"{name}_node",)), **fields)
        value.type = TensorType(self.shape, DType.I8, quant) if cls is Quantize or cls is Recast else value.type
        value.type = value.type.shaped(op.shapes()[0])
        self.graph.ops.append(op)
        return op.result

    def constant(self, array: Array, quant: Quant | None = None, hint: str = "const") -> Value:
        kind = dtype_of(array.dtype)
        assert kind is not None
        value = Value(self.names.fresh(hint), TensorType(array.shape, kind, quant))
        self.graph.constants[value] = array
        return value

    def int8(self, *shape: int) -> Array:
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def weights(self, shape: tuple[int, ...], axis: int | None, zero: int = 0) -> Value:
        """int8 weights, quantized per index of an axis or as a whole."""
        if axis is None:
            return self.constant(self.int8(*shape), per_tensor(0.0031, zero), "w")
        scales = tuple(float32(s) for s in self.rng.uniform(0.001, 0.005, shape[axis]))
        return self.constant(self.int8(*shape), Quant(scales, (zero,) * shape[axis], axis), "w")

    def bias(self, channels: int) -> Value:
        return self.constant(self.rng.integers(-3000, 3000, channels).astype(np.int32), hint="bias")

    def table(self) -> Value:
        return self.constant(self.int8(256), hint="table")

    def conv(
        self, x: Value, channels: int, kernel: int | tuple[int, int] = 1, *, group: int = 1, per_channel: bool = True,
        bias: bool = True, lookup: bool = False, quant: Quant | None = None, weight_zero: int = 0, **fields: object,
    ) -> Value:  # fmt: skip
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        w = self.weights((channels, x.type.shape[1] // group, *size), 0 if per_channel else None, weight_zero)
        sliding: dict[str, Any] = {name: fields.pop(name) for name in ("stride", "pads", "dilation") if name in fields}
        if lookup:
            fields |= {"table": self.table(), "mid_scale": float32(0.07), "mid_zero": 9}
        return self.op(
            Conv2d, quant or per_tensor(0.09, 5), x=x, w=w, bias=self.bias(channels) if bias else None,
            group=group, kernel=Kernel(size, **sliding), **fields,
        )  # fmt: skip

    def output(self, value: Value, *, dequantize: bool = True) -> None:
        if dequantize:
            name = self.names.fresh(f"{value.name}_real")
            result = Value(name, TensorType(value.type.shape, DType.F32))
            self.graph.ops.append(Dequantize(results=(result,), x=value, loc=Loc("", (f"{name}_node",))))
            value = result
        self.graph.outputs.append(value)

    def done(self) -> Graph:
        """The finished graph, verified, without what no output needs."""
        self.graph.remove_dead()
        verify(self.graph)
        return self.graph

    def inputs(self) -> dict[str, Array]:
        """Seeded data for every input."""
        return random_inputs(self.graph)


def _stored(quant: Quant, kind: DType) -> Quant | None:
    """The quantization of an input that arrives as integers: uint8 counts from 0."""
    if kind is DType.F32:
        return None
    return per_tensor(quant.s, quant.z + 128) if kind is DType.U8 else quant


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Reals around what Q represents, or any integers."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for value in graph.inputs:
        shape, kind = value.type.shape, value.type.dtype.numpy
        if value.type.dtype is DType.F32:
            made[value.name] = rng.normal(0, 2, shape).astype(np.float32)
        else:
            info = np.iinfo(kind.name)
            made[value.name] = rng.integers(info.min, info.max + 1, shape).astype(kind)
    return made
