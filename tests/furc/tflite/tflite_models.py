"""TFLite models drawn for tests, with the object classes of the schema that LiteRT ships; and LiteRT to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from benchmarks.vela.tflite_file import Array, TfliteFile


class Drawing(TfliteFile):
    """One model of random weights."""

    def __init__(self, dtype: str = "int8", seed: int = 0) -> None:
        super().__init__(dtype)
        self.random = np.random.default_rng(seed)

    def scalar(self, value: int) -> int:
        return self.tensor((), dtype="int32", data=np.array(value, np.int32))

    def activation(self, shape: Sequence[int], scale: float = 0.05, zero: int | None = None, name: str = "") -> int:
        """zero: as int8."""
        at = 3 if zero is None else zero
        return self.tensor(shape, scale, at + 128 if self.dtype == "uint8" else at, name=name)

    def input(self, shape: Sequence[int], scale: float = 0.05, zero: int | None = None) -> int:
        self.graph.inputs.append(self.activation(shape, scale, zero, f"input{len(self.graph.inputs)}"))
        return int(self.graph.inputs[-1])

    def weights(self, shape: Sequence[int], channels: int, axis: int, zero: int | None = None) -> tuple[int, Array]:
        """Per channel int8, or uint8 with one zero point where it is given; their scales."""
        if self.dtype == "float32":
            data = self.random.normal(0, 0.3, shape).astype(np.float32)
            return self.tensor(shape, data=data), np.ones(channels, np.float32)
        if self.dtype == "uint8":
            stored = self.random.integers(0, 256, shape).astype(np.uint8)
            return self.tensor(shape, 0.01, zero if zero is not None else 120, data=stored), np.full(
                1, 0.01, np.float32
            )
        scale = self.random.uniform(0.005, 0.02, channels).astype(np.float32)
        stored = self.random.integers(-127, 128, shape).astype(np.int8)
        return self.tensor(shape, scale, 0, data=stored, axis=axis), scale

    def bias(self, channels: int, scale: Array) -> int:
        if self.dtype == "float32":
            return self.tensor((channels,), data=self.random.normal(0, 0.3, channels).astype(np.float32))
        return self.tensor(
            (channels,), scale, dtype="int32", data=self.random.integers(-500, 500, channels).astype(np.int32)
        )

    def conv(
        self, x: int, channels: int, kernel: int = 3, stride: int = 1, *, depthwise: bool = False, dilation: int = 1,
        padding: int = 0, activation: int = 0, scale: float = 0.2, zero: int | None = None,
    ) -> int:  # fmt: skip
        """A convolution with bias; depthwise: channels out of as many or a divisor of them."""
        n, h, w, c = self.graph.tensors[x].shape
        shape = (1, kernel, kernel, channels) if depthwise else (channels, kernel, kernel, c)
        weights, own = self.weights(shape, channels, 3 if depthwise else 0, zero)
        span = (kernel - 1) * dilation + 1
        out = [-(-s // stride) if padding == 0 else (s - span) // stride + 1 for s in (h, w)]
        of_x = 1.0 if self.dtype == "float32" else self.graph.tensors[x].quantization.scale[0]
        y = self.activation((n, *out, channels), scale)
        more = {"depthMultiplier": channels // c} if depthwise else {}
        bias = self.bias(channels, np.float32(of_x) * own)
        return self.op(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", (x, weights, bias), (y,),
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
            strideH=stride, strideW=stride, dilationHFactor=dilation, dilationWFactor=dilation, padding=padding,
            fusedActivationFunction=activation, **more,
        )  # fmt: skip


def data_for(model: bytes, seed: int = 0) -> dict[str, Array]:
    """Random data for every input, by name."""
    random, found = np.random.default_rng(seed), {}
    for detail in Interpreter(model_content=model).get_input_details():
        kind, shape = np.dtype(detail["dtype"]), detail["shape"]
        if kind == np.float32:
            found[detail["name"]] = random.normal(0, 1, shape).astype(np.float32)
        else:
            limits = np.iinfo(kind)
            found[detail["name"]] = random.integers(limits.min, limits.max + 1, shape).astype(kind)
    return found


def litert(
    model: bytes, inputs: Mapping[str, Array], kernels: OpResolverType = OpResolverType.BUILTIN_REF
) -> dict[str, Array]:
    """What LiteRT gives, by default with its reference kernels."""
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}
