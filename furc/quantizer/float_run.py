"""Run the float model and see every activation, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from furc.onnx.graph import Array, input_infos
from furc.onnx.run import first_line, session
from isa.errors import QuantizeError

Feed = Mapping[str, Array]


class FloatRun:
    """One session of a model that also returns the tensors in `watched`."""

    def __init__(self, model: onnx.ModelProto, watched: Sequence[str]) -> None:
        self.inputs = [info.name for info in input_infos(model)]
        self._types = {i.name: _dtype(i) for i in model.graph.input}
        self._watched = list(watched)
        self._session = session(_watching(model, watched), layouts=False)

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """The watched tensors of one run, by name. Raises QuantizeError[BadCalibrationData]."""
        prepared = {name: np.asarray(value, self._types[name]) for name, value in feed.items() if name in self._types}
        names = [name for name in self._watched if name not in prepared]
        try:
            values = self._session.run(names, prepared) if names else []
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in prepared.items())
            what = f"the model does not take {shapes}: {first_line(error)}"
            raise QuantizeError("BadCalibrationData", what) from error
        found = dict(zip(names, values, strict=True))
        return {name: prepared[name] if name in prepared else found[name] for name in self._watched}


def feeds(names: Sequence[str], data: object) -> Iterator[dict[str, Array]]:
    """Samples as dicts by input name. data: arrays (one input), sequences of arrays in input order, or dicts.

    Raises QuantizeError[BadCalibrationData] for another number or other names of inputs.
    """
    for index, sample in enumerate(data):  # type: ignore[arg-type,var-annotated]
        yield _feed(names, sample, index)


def _feed(names: Sequence[str], sample: object, index: int) -> dict[str, Array]:
    if isinstance(sample, Mapping):
        found = {str(name): np.asarray(value) for name, value in sample.items()}
        if set(found) != set(names):
            raise _wrong(index, f"has the inputs {', '.join(sorted(found))}", names)
        return found
    arrays = [sample] if isinstance(sample, np.ndarray) else list(sample)  # type: ignore[call-overload]
    if len(arrays) != len(names):
        raise _wrong(index, f"has {len(arrays)} arrays", names)
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


def _wrong(index: int, what: str, names: Sequence[str]) -> QuantizeError:
    return QuantizeError("BadCalibrationData", f"sample {index} {what}, the model takes {', '.join(names)}")


def _watching(model: onnx.ModelProto, watched: Sequence[str]) -> onnx.ModelProto:
    """The model with the watched tensors as its outputs; nodes that only others need are not run."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    infos = {i.name: i for i in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    del copy.graph.output[:]
    inputs = {i.name for i in model.graph.input}
    wanted = [name for name in watched if name not in inputs] or [o.name for o in model.graph.output]
    copy.graph.output.extend(
        infos.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted
    )
    return copy


def _dtype(info: onnx.ValueInfoProto) -> np.dtype[np.generic]:
    kind: np.dtype[np.generic] = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    return kind
