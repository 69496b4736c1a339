"""A TFLite model in the making, with the object classes of the schema that LiteRT ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Array = NDArray[Any]
KINDS = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "float16": 1, "int8": 9, "bool": 6}
VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 3, "FULLY_CONNECTED": 4, "ADD": 2, "MUL": 2, "SUB": 2,
    "MAX_POOL_2D": 2, "AVERAGE_POOL_2D": 2, "MEAN": 2, "CONCATENATION": 2, "PAD": 2, "PADV2": 2, "STRIDED_SLICE": 2,
    "SLICE": 2, "SPLIT": 2, "TRANSPOSE": 2, "LOGISTIC": 2, "TANH": 2, "RELU": 2, "RELU6": 2, "QUANTIZE": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2, "SPACE_TO_DEPTH": 2, "PACK": 2, "UNPACK": 2, "DEQUANTIZE": 2,
    "SOFTMAX": 2, "BROADCAST_TO": 2,
}  # fmt: skip


class TfliteFile:
    """Tensors are numbers. dtype: of activations, int8, uint8 or float32."""

    def __init__(self, dtype: str = "int8") -> None:
        self.dtype = dtype
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []
        self.model = schema.ModelT()
        self.model.version, self.model.subgraphs, self.model.operatorCodes = 3, [self.graph], []
        self.model.buffers = [schema.BufferT()]

    def tensor(
        self,
        shape: Sequence[int],
        scale: float | Array | None = None,
        zero: int = 0,
        dtype: str = "",
        data: Array | None = None,
        axis: int = 0,
        name: str = "",
    ) -> int:
        """axis: of the scales, where there are several."""
        made = schema.TensorT()
        made.name, made.shape = name or f"t{len(self.graph.tensors)}", list(shape)
        made.type = KINDS[dtype or self.dtype]
        if scale is not None and made.type in (KINDS["int8"], KINDS["uint8"], KINDS["int32"]):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = list(np.atleast_1d(np.asarray(scale, np.float32)))
            made.quantization.zeroPoint = [zero] * len(made.quantization.scale)
            made.quantization.quantizedDimension = axis
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            made.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def ints(self, *values: object) -> int:
        array = np.array(values, np.int32)
        return self.tensor(array.shape, dtype="int32", data=array)

    def op(self, code: str, inputs: Sequence[int], outputs: Sequence[int], kind: str = "", **options: Any) -> int:
        """kind: of its options, in the schema's CamelCase."""
        number = getattr(schema.BuiltinOperator, code)
        codes = [c.builtinCode for c in self.model.operatorCodes]
        if number not in codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = (
                number,
                min(number, 127),
                VERSIONS.get(code, 1),
            )
            self.model.operatorCodes.append(entry)
            codes.append(number)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = codes.index(number), list(inputs), list(outputs)
        if kind:
            made.builtinOptions = getattr(schema, f"{kind}T")()
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            for name, value in options.items():
                assert hasattr(made.builtinOptions, name), f"{kind} has no {name}"
                setattr(made.builtinOptions, name, value)
        self.graph.operators.append(made)
        return int(outputs[0])

    def bytes(self, *outputs: int) -> bytes:
        self.graph.outputs = list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
