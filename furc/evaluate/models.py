"""What is evaluated: binaries and quantized models on the simulated NPU, float models on ONNX Runtime, as one thing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from furc.build import build
from furc.data.feeds import taken
from furc.data.images import Preprocess
from furc.data.noted import preprocess_by
from furc.data.pixels import Pixels, as_stored
from furc.frontend.onnx.model import has_ranges
from furc.machine import machine_of
from furc.onnx.files import in_file, load
from furc.onnx.half import in_single
from furc.onnx.model_proto import fixed_batch, input_infos, noted_pixels
from furc.onnx.run import runner_for
from furc.profiling.profile import is_enf
from furc.request import Request, Shapes
from furc.runtime.session import Session
from isa import enf as enf_file
from isa.enf import ModelTensor
from isa.errors import ConfigError, FurcError, Loc, RunError, SourceError

Array = NDArray[Any]
FLOAT, NPU = "ONNX Runtime", "NPU"


@dataclass(slots=True, kw_only=True)
class Model:
    """A model as a function from arrays of its inputs to arrays of its outputs. seconds: spent in it so far.

    note: of the images that it was calibrated on (furc/data/noted.py)."""

    name: str
    where: str
    inputs: tuple[ModelTensor, ...]
    call: Callable[[Mapping[str, Array]], dict[str, Array]]
    note: str = ""
    seconds: float = 0.0

    @property
    def batch(self) -> int:
        shape = self.inputs[0].shape
        return shape[0] if shape else 1

    def image_input(self) -> ModelTensor:
        """Its only input. Raises SourceError NotAnImageInput."""
        if len(self.inputs) != 1:
            names = ", ".join(f"'{tensor.name}'" for tensor in self.inputs)
            raise SourceError("NotAnImageInput", f"it has inputs {names}, an image is one", at=Loc(self.name),
                              hint="compare outputs on arrays: --task none --data F.npz")  # fmt: skip
        return self.inputs[0]

    def run(self, samples: Sequence[Mapping[str, Array]], names: Sequence[str]) -> list[dict[str, Array]]:
        """Outputs of each sample, [1, ...] each. names: of the samples, for messages. Raises RunError NotFinite."""
        found: list[dict[str, Array]] = []
        for start in range(0, len(samples), self.batch):
            part = list(samples[start : start + self.batch])
            part += part[-1:] * (self.batch - len(part))  # the last run is filled up
            feed = {t.name: np.concatenate([sample[t.name] for sample in part]) for t in self.inputs}
            begin = time.perf_counter()
            outputs = self.call(feed)
            self.seconds += time.perf_counter() - begin
            found += [self._of(outputs, index, names[start]) for index in range(self.batch)]
        for name, outputs in zip(names, found, strict=False):
            for output, values in outputs.items():
                if values.dtype.kind == "f" and not np.isfinite(values).all():
                    raise RunError(
                        "NotFinite", f"output '{output}' has values that are no numbers on '{name}'", at=Loc(self.name),
                        hint="look at that image and at --scale, --mean, --std; furc verify finds the operator",
                    )  # fmt: skip
        return found[: len(samples)]

    def _of(self, outputs: Mapping[str, Array], index: int, sample: str) -> dict[str, Array]:
        for name, values in outputs.items():
            if self.batch > 1 and (values.ndim == 0 or values.shape[0] % self.batch):
                raise RunError("NoBatch", f"output '{name}' {list(values.shape)} is not one for each of {self.batch}",
                               at=Loc(self.name), hint="compile with --batch 1")  # fmt: skip
        return {
            name: values if self.batch == 1 else np.split(values, self.batch)[index] for name, values in outputs.items()
        }


def npu_model(path: Path, request: Request) -> Model:
    """A binary, or a quantized model that is compiled first. Raises FurcError."""
    if is_enf(path):
        binary = enf_file.load(path)
        session = Session(binary, npu=machine_of(binary, request.what_if))
    else:
        try:
            session = Session(build(path, request).enf, npu=request.npu())
        except FurcError as error:
            if _is_float(path):
                hint = f"quantize it with furc quantize, or run it as reference: --float {quote(str(path))}"
                raise type(error)(error.name, error.message, at=error.at, also=error.also, hint=hint) from error
            raise
    return session_model(session, path.name)


def float_model(path: Path, request: Request) -> Model:
    """Any model, on ONNX Runtime as it is, halves as floats. Raises FurcError."""
    with in_file(path):
        return onnx_model(in_single(load(path)), path.name, request.input_shapes)


def session_model(session: Session, name: str) -> Model:
    """A binary that is loaded already."""
    return Model(name=name, where=NPU, inputs=session.inputs, call=session.run, note=session.enf.pixels)


def onnx_model(proto: onnx.ModelProto, name: str, input_shapes: Shapes | None = None) -> Model:
    """As `float_model`, of a model that is read already. input_shapes: of inputs that it leaves open."""
    shapes = fixed_batch(proto, input_shapes or {}, 1)
    inputs = []
    for tensor in map(taken, input_infos(proto)):
        shape = shapes.get(tensor.name) or tuple(extent or 0 for extent in tensor.shape or ())
        if min(shape, default=1) < 1 and len(shape) != 4:
            raise SourceError("OpenShape", f"input '{tensor.name}' has no fixed shape", at=Loc(name),
                              hint=f"--input-shape {tensor.name}=1x3x224x224")  # fmt: skip
        inputs.append(ModelTensor(tensor.name, tensor.dtype.name, shape))
    return Model(name=name, where=FLOAT, inputs=tuple(inputs), call=runner_for(proto),
                 note=noted_pixels(proto))  # fmt: skip


def preprocesses(models: Sequence[Model], pixels: Pixels | None, told: Callable[[str], None]) -> list[Preprocess]:
    """How an image becomes the input of each: by the options given, or as they note it, those without a note as the
    others do. told: hears of the notes.

    Where there are models with float inputs too, scale, mean and std are for these. Raises SourceError NotAnImageInput,
    BadNote, ConfigError BadChannels, PixelsDiffer."""
    inputs = [model.image_input() for model in models]
    mixed = len({tensor.dtype == "float32" for tensor in inputs}) > 1
    notes = list(dict.fromkeys(model.note for model in models if model.note))
    without = next((model for model in models if not model.note), None)
    if pixels is None and without is not None and len(notes) > 1:
        told_by = [next(model.name for model in models if model.note == note) for note in notes[:2]]
        raise ConfigError(
            "PixelsDiffer", f"{told_by[0]} was calibrated on images with {notes[0]}, {told_by[1]} with {notes[1]}: "
            "neither says how this one takes them", at=Loc(without.name), hint=f"give the options, such as {notes[0]}",
        )  # fmt: skip
    found = []
    for model, tensor in zip(models, inputs, strict=True):
        given = as_stored(pixels) if pixels is not None and mixed and tensor.dtype != "float32" else pixels
        note = model.note or next(iter(notes), "")
        of_own = told if model.note else lambda _: None  # others follow one that was told
        found.append(preprocess_by(tensor, given, note, Loc(model.name), of_own, model.name))
    return found


def told_apart(models: Sequence[Model], paths: Sequence[Path]) -> None:
    """Models of one file name are called by their paths, of one path by number."""
    for model, path in zip(models, paths, strict=True):
        if sum(other.name == path.name for other in paths) > 1:
            model.name = str(path)
    seen: dict[str, int] = {}
    for model in models:
        seen[model.name] = seen.get(model.name, 0) + 1
        if seen[model.name] > 1:
            model.name = f"{model.name} ({seen[model.name]})"


def _is_float(path: Path) -> bool:
    try:
        return not has_ranges(load(path))
    except FurcError:
        return False  # it has another fault
