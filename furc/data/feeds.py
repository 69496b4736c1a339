"""Calibration samples as the model takes them: the right inputs, element types and shapes, and finite numbers.

Floats of any width and byte order are converted; NumPy makes float64 where nobody asks. What cannot be converted
without guessing, such as pixels for a float input, is refused with the sample and the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper

from furc.data.arrays import Array
from furc.onnx.graph import Graph
from isa.errors import Loc, QuantizeError, counted, first_line

NUMBERS = "pass arrays of numbers, one for each input, by its name"


class Taken(NamedTuple):
    """An input of the model. shape: None for an axis of any extent; None where even the rank is open."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


def taken_by(graph: Graph) -> tuple[Taken, ...]:
    """The inputs of a graph."""
    return tuple(taken(info) for info in graph.input_infos())


def taken(info: onnx.ValueInfoProto) -> Taken:
    """An input as its model declares it. Raises QuantizeError UnsupportedInput."""
    tensor = info.type.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        raise QuantizeError(
            "UnsupportedInput", f"input '{info.name}' is no tensor of a known element type",
            at=Loc(detail=f"input '{info.name}'"), hint="cut the model behind it",
        ) from None  # fmt: skip
    extents = (d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return Taken(str(info.name), dtype, tuple(extents) if tensor.HasField("shape") else None)


def feeds(inputs: Sequence[Taken], data: object) -> Iterator[dict[str, Array]]:
    """Samples as dicts by input name. data: arrays (one input), sequences of arrays in input order, dicts, or one dict
    of stacked arrays [samples, ...].

    What comes from a sequence may be the caller's own arrays, which are not to be changed; what an iterator makes is
    copied, as it may write the next sample where this one was, while this one is still looked at.
    Raises QuantizeError BadCalibrationData or NotFinite with the number of the sample.
    """
    copies = not isinstance(data, Sequence | Mapping | np.ndarray)
    for index, sample in enumerate(_samples(inputs, data)):
        yield {
            tensor.name: _converted(array, tensor, index, copies=copies)
            for tensor, array in zip(inputs, _arrays(inputs, sample, index), strict=True)
        }


def _samples(inputs: Sequence[Taken], data: object) -> Iterable[object]:
    if isinstance(data, Mapping):
        return list(_unstacked(inputs, data))
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise QuantizeError("BadCalibrationData", f"calibration data is {type(data).__name__}, no samples",
                            hint="pass a list of dicts {input name: array}")  # fmt: skip
    return data


def _unstacked(inputs: Sequence[Taken], data: Mapping[object, object]) -> Iterator[dict[str, Array]]:
    """Row by row, each a batch of 1."""
    stacks = {str(name): _array(value, str(name), None) for name, value in data.items()}
    for name, stack in stacks.items():
        if not stack.ndim:
            raise _bad(f"'{name}' is a single number, expected an array [samples, ...]", NUMBERS)
    lengths = {len(stack) for stack in stacks.values()}
    if len(lengths) > 1:
        counts = ", ".join(f"'{name}' {len(stack)}" for name, stack in stacks.items())
        raise _bad(f"the arrays hold different numbers of samples: {counts}", "pass as many for every input")
    for index in range(max(lengths, default=0)):
        yield {name: stack[index : index + 1] for name, stack in stacks.items()}


def _arrays(inputs: Sequence[Taken], sample: object, index: int) -> list[Array]:
    names = [tensor.name for tensor in inputs]
    if isinstance(sample, Mapping):
        found = {str(name): value for name, value in sample.items()}
        if set(found) != set(names):
            raise _wrong(index, f"has the inputs {', '.join(sorted(found)) or 'none'}", names)
        return [_array(found[name], name, index) for name in names]
    arrays = [sample] if isinstance(sample, np.ndarray) else sample
    if not isinstance(arrays, Sequence) or isinstance(arrays, str | bytes):
        raise _wrong(index, f"is {type(sample).__name__}", names)
    if len(arrays) != len(names):
        raise _wrong(index, f"has {counted(len(arrays), 'array')}", names)
    return [_array(array, name, index) for name, array in zip(names, arrays, strict=True)]


def _array(value: object, name: str, index: int | None) -> Array:
    if np.ma.is_masked(value):
        hint = "fill in what is masked, with .filled(value), or leave the sample out"
        raise _bad(f"{_sample(index)}input '{name}' has masked values", hint)
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        # rows of unlike lengths, tensors of other libraries on another device or with gradients
        what = f"{_sample(index)}input '{name}' is {type(value).__name__}, no array: {first_line(error)}"
        raise _bad(what, NUMBERS) from error


def _converted(array: Array, tensor: Taken, index: int, *, copies: bool) -> Array:
    where = f"sample {index}: input '{tensor.name}'"
    if array.dtype.kind != tensor.dtype.kind and not (array.dtype.kind in "iu" and tensor.dtype.kind in "iu"):
        hint = f"convert it with .astype('{tensor.dtype.name}')"
        if tensor.dtype.kind == "f" and array.dtype.kind in "iu":
            hint += ", and divide as the model's training did: pixels usually by 255"
        raise _bad(f"{where} is {array.dtype.name}, the model takes {tensor.dtype.name}", hint)
    shape = tensor.shape
    fits = shape is None or (
        len(shape) == array.ndim and all(w is None or w == h for w, h in zip(shape, array.shape, strict=True))
    )
    if shape is not None and not fits:
        wanted = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise _bad(f"{where} is {list(array.shape)}, the model takes [{wanted}]", "reshape it, or give --input-shape")
    if not array.size:
        raise _bad(f"{where} is {list(array.shape)}: it has no elements", NUMBERS)
    with np.errstate(over="ignore"):  # told below
        converted = np.array(array, tensor.dtype, order="C", copy=copies or None)
    if converted.dtype.kind == "f" and not np.isfinite(converted).all():
        bad = "NaN" if np.isnan(converted).any() else "infinity"
        raise QuantizeError(
            "NotFinite", f"sample {index}: tensor '{tensor.name}' holds {bad}",
            hint="check this sample, and that its preprocessing divides by no zero",
        )  # fmt: skip
    if converted.dtype.kind in "iu" and not np.array_equal(converted, array):
        raise _bad(f"{where} holds numbers that are no {tensor.dtype.name}", NUMBERS)
    return converted


def _sample(index: int | None) -> str:
    return "" if index is None else f"sample {index}: "


def _bad(what: str, hint: str) -> QuantizeError:
    return QuantizeError("BadCalibrationData", what, hint=hint)


def _wrong(index: int, what: str, names: Sequence[str]) -> QuantizeError:
    return _bad(f"sample {index} {what}, the model takes {', '.join(names)}", NUMBERS)
