"""What LiteRT computes for a TFLite model, under the names that the converted model gives the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from furc.tflite.convert import converted
from furc.tflite.model import Array
from furc.tflite.writer import TO_IMAGE
from isa.errors import ConfigError, first_line
from passes.ir.types import Quant, per_tensor

AGAINST = "--against onnxruntime compares with the same model in ONNX"


def litert_run(data: bytes, inputs: Mapping[str, Array]) -> Any:
    """An interpreter that has run a model with LiteRT's reference kernels and keeps every tensor; untyped, as LiteRT
    is.

    Raises ConfigError NoLitert, LitertCannotRun."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType  # a development dependency
    except ImportError as error:
        raise ConfigError("NoLitert", "LiteRT is not installed", hint="pip install ai-edge-litert") from error
    try:
        interpreter = Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], inputs[detail["name"]])
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:  # an operator that it lacks, in this version of it
        message = f"LiteRT's reference kernels do not run the model: {first_line(error)}"
        raise ConfigError("LitertCannotRun", message, hint=AGAINST) from error
    return interpreter


def litert_tensors(data: bytes, inputs: Mapping[str, Array]) -> dict[tuple[str, Quant], Array]:
    """Every tensor of 8 bits that an operator makes, by name and grid, as int8 (uint8 minus 128), axes as in ONNX.

    LiteRT's reference kernels run: the numbers that TFLite's specification states. Raises ConfigError NoLitert,
    LitertCannotRun.
    """
    interpreter = litert_run(data, inputs)
    writer = converted(data)
    found: dict[tuple[str, Quant], Array] = {}
    for name, (number, image) in writer.places.items():
        tensor, array = writer.tensor(number), interpreter.get_tensor(number)
        if not tensor.quantized:
            continue
        quant = per_tensor(float(tensor.scale[0]), int(tensor.zero[0]) - (128 if array.dtype == np.uint8 else 0))
        if array.dtype == np.uint8:
            array = array.view(np.int8) ^ np.int8(-128)
        found[name, quant] = np.ascontiguousarray(array.transpose(TO_IMAGE) if image else array)
    return found
