"""Accuracy of models on labelled images, on the simulated NPU beside ONNX Runtime.

options = Options(data=Path("val"), labels=Path("val.csv"))
found = evaluate_files([Path("model.enf")], options, floats=[Path("model.onnx")])
found.models[-1].figures["top-1"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.data.arrays import read_arrays, samples_in
from furc.data.images import Preprocess, read_image
from furc.data.inputs import image_input
from furc.data.pixels import Pixels
from furc.data.samples import check_count
from furc.evaluate.annotations import read_annotations
from furc.evaluate.boxes import SCORE, Detections, detections
from furc.evaluate.closeness import Closeness, is_row, paired
from furc.evaluate.heads.catalog import HEADS
from furc.evaluate.heads.head import Candidates, Head
from furc.evaluate.labels import read_labels
from furc.evaluate.models import Model, float_model, npu_model, preprocesses, told_apart
from furc.evaluate.result import Change, Evaluation, Scored, Task
from furc.evaluate.scores import TOP, Said, Scores, classification, detection, named, said_of_classes
from furc.evaluate.truth import OFFSET, Annotated, Labelled, Truth, images_below, outside, read_classes
from furc.onnx.files import in_file
from furc.optional import needed
from furc.progress import Progress, silent
from furc.request import Request
from isa.errors import ConfigError, Loc, RunError, SourceError, counted

Array = NDArray[Any]
Told = Callable[[str], None]
LEAST_CHUNK = 8  # images that every model runs before the next ones are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """data: a folder of images, or for Task.NONE an .npz of arrays [samples, ...] too.

    labels: see read_labels and read_annotations. classes: a file of names, of labels before the offset.
    offset: added to labels of a classification. decode: the head, one of HEADS; iou, score: of its suppression, by
    default what its authors use.
    pixels: how images become inputs, by default as the models note it, else as usual. partial: leave out
    images without label and labels without image. limit: the first so many images, in order of names.
    Raises ConfigError BadOption.
    """

    data: Path
    labels: Path | None = None
    task: Task = Task.CLASSIFICATION
    decode: str = ""
    classes: Path | None = None
    offset: int = 0
    pixels: Pixels | None = None
    iou: float | None = None
    score: float = SCORE
    partial: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):  # a text is equal to a task, and none
            raise ConfigError("BadOption", f"task is '{self.task}'", hint="one of Task.CLASSIFICATION, DETECTION, NONE")
        check_count("limit", self.limit)
        for name, share in (("iou", self.iou), ("score", self.score)):
            if share is not None and not 0 <= share <= 1:
                raise ConfigError("BadOption", f"{name} is {share}", hint="a number from 0 to 1")

    @property
    def head(self) -> Head:
        """Raises ConfigError NoHead."""
        if self.decode not in HEADS:
            what = f"there is no head '{self.decode}'" if self.decode else "which head the model ends in is not said"
            raise ConfigError("NoHead", what, hint=f"--decode {'|'.join(HEADS)}")
        return HEADS[self.decode]


class _Sample(NamedTuple):
    """inputs: of every model; sizes: rows and columns of the image."""

    name: str
    size: tuple[int, int]
    inputs: list[Mapping[str, Array]]


def evaluate_files(
    models: Sequence[Path],
    options: Options,
    *,
    floats: Sequence[Path] = (),
    request: Request | None = None,
    progress: Progress = silent,
    told: Told = lambda _: None,
) -> Evaluation:
    """Evaluate ENFs and quantized models on the NPU, and floats on ONNX Runtime; the first of all is the reference.

    told: hears which options of images are taken from a model, or differ from its own.

    Raises FurcError: of models, labels and images, and RunError NotFinite, HeadMismatch, ClassesDiffer, OutputsDiffer.
    """
    asked = request or Request()
    truth = read_truth(options).first(options.limit)
    if options.task is Task.DETECTION:
        needed("pycocotools", "eval", "mAP")  # before an hour of runs, not behind it
        assert options.head
    made = []
    for number, path in enumerate((*floats, *models)):
        progress("Loading models", number, len(floats) + len(models))
        made.append(float_model(path, asked) if number < len(floats) else npu_model(path, asked))
    progress("Loading models", len(made), len(made))
    told_apart(made, [*floats, *models])
    return evaluate(made, truth, options, progress, told)


def read_truth(options: Options) -> Truth:
    """The images and what is known of them, as the task needs it. Raises FurcError."""
    classes = read_classes(options.classes) if options.classes is not None else ()
    if options.task is Task.CLASSIFICATION:
        labels = options.labels
        if labels is not None and (labels.is_dir() or (labels.suffix == ".json" and labels.is_file())):
            raise ConfigError("NoHead", "labels of objects, and which head the model ends in is not said",
                              at=Loc(str(labels)), hint=f"--decode {'|'.join(HEADS)}")  # fmt: skip
        return read_labels(options.data, labels, classes, offset=options.offset, partial=options.partial)
    if options.task is Task.DETECTION:
        if options.labels is None:
            raise ConfigError("NoLabel", "there are no boxes to compare with",
                              hint="give --labels: COCO's annotations, or a folder of YOLO text files")  # fmt: skip
        return read_annotations(options.data, options.labels, classes, partial=options.partial)
    if options.data.suffix == ".npz":
        return Truth(())
    files = images_below(options.data)
    return Truth(tuple(Labelled(str(file.relative_to(options.data)), file, -1) for file in files))


def evaluate(
    models: Sequence[Model],
    truth: Truth,
    options: Options,
    progress: Progress = silent,
    told: Told = lambda _: None,
) -> Evaluation:
    """The same for models and images that are read already; the first model is the reference."""
    _check_objects(truth, options)
    run = _Run(models, truth, options, told)
    samples, total = run.samples(), run.total
    chunk = max(LEAST_CHUNK, *(model.batch for model in models))
    while part := list(islice(samples, chunk)):
        run.add(part)
        progress("Running images", run.done, total)
    if not run.done:
        raise SourceError("NoImages", "no samples", at=Loc(str(options.data)), hint="give at least one, better 100")
    return run.result()


def _check_objects(truth: Truth, options: Options) -> None:
    """mAP is a mean over classes that have objects. Raises SourceError NoLabel where no class has."""
    found = (image.objects for image in truth.images if isinstance(image, Annotated))
    if options.task is Task.DETECTION and all(objects.crowd.all() for objects in found):
        raise SourceError("NoLabel", f"no object in any of {counted(len(truth.images), 'image')}, crowds left out",
                          at=Loc(str(options.labels or options.data)), hint="give images that have some")  # fmt: skip


class _Run:
    """What models said so far."""

    def __init__(self, models: Sequence[Model], truth: Truth, options: Options, told: Told) -> None:
        self.models, self.truth, self.options, self.done = models, truth, options, 0
        self.of_arrays = options.task is Task.NONE and options.data.suffix == ".npz"
        self.how = [] if self.of_arrays else preprocesses(models, options.pixels, told)
        self.arrays = _arrays(options, models) if self.of_arrays else {}
        self.close: list[Closeness | None] = [Closeness() for _ in models]
        self.best: list[list[Array]] = [[] for _ in models]
        self.found: list[list[Detections]] = [[] for _ in models]
        self.names: list[str] = []

    @property
    def total(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.of_arrays else len(self.truth.images)

    def samples(self) -> Iterator[_Sample]:
        if self.of_arrays:
            for index in range(self.total):
                feed = {name: array[index : index + 1] for name, array in self.arrays.items()}
                yield _Sample(f"sample {index}", (0, 0), [feed] * len(self.models))
            return
        for image in self.truth.images:
            pixels, kept = read_image(image.path), dict[tuple[Preprocess, str], Array]()
            inputs = list[Mapping[str, Array]]()
            for model, how in zip(self.models, self.how, strict=True):
                tensor = model.image_input()
                if (how, tensor.dtype) not in kept:
                    with in_file(image.path):
                        kept[how, tensor.dtype] = image_input(pixels, how, tensor.dtype)
                inputs.append({tensor.name: kept[how, tensor.dtype]})
            yield _Sample(image.name, (pixels.height, pixels.width), inputs)

    def add(self, part: Sequence[_Sample]) -> None:
        names = [sample.name for sample in part]
        self.names += names
        exact: list[dict[str, Array]] = []
        for number, model in enumerate(self.models):
            outputs = model.run([sample.inputs[number] for sample in part], names)
            exact = exact or outputs
            for sample, reference, own in zip(part, exact, outputs, strict=True):
                self._compare(number, reference, own)
                if self.options.task is Task.CLASSIFICATION:
                    self._classify(number, own)
                elif self.options.task is Task.DETECTION:
                    self._detect(number, own, sample)
        self.done += len(part)

    def _compare(self, number: int, reference: Mapping[str, Array], own: Mapping[str, Array]) -> None:
        close, known = self.close[number], paired(reference, own)
        if known is None and self.options.task is Task.NONE:
            raise RunError(
                "OutputsDiffer", f"its outputs {_outlined(own)} are not those of {self.models[0].name}, "
                f"{_outlined(reference)}: without labels there is nothing else to compare",
                at=Loc(self.models[number].name), hint="pass the model that this one was made from",
            )  # fmt: skip
        if close is None or known is None:
            self.close[number] = None
        else:
            close.add(reference, known)

    def _classify(self, number: int, outputs: Mapping[str, Array]) -> None:
        first = next(iter(outputs.values()))
        values = first.reshape(-1)
        at, image = Loc(self.models[number].name), self.truth.images[len(self.best[number])]
        assert isinstance(image, Labelled)
        if len(outputs) != 1:
            raise RunError("NoScores", f"it has {len(outputs)} outputs, a classification has one", at=at,
                           hint="--task detection, or none")  # fmt: skip
        if not is_row(first):
            raise RunError("NoScores", f"its output {list(first.shape)} is no score for each class", at=at,
                           hint="--task detection, or none")  # fmt: skip
        if self.truth.classes and len(self.truth.classes) + self.options.offset != len(values):
            raise self._unlike_classes(len(values), at)
        if not 0 <= image.label < len(values):
            where = self.options.labels or self.options.data
            raise outside(where, image.name, image.label, len(values), hint=OFFSET)
        self.best[number].append(np.argsort(-values.astype(np.float64), kind="stable")[:TOP])

    def _unlike_classes(self, own: int, at: Loc) -> RunError:
        known, offset, named_by = len(self.truth.classes), self.options.offset, self.options.classes
        who, hint = f"{named_by} names {known}", "name all of them, one a line"
        if offset:
            hint = f"name the {own - offset} that labels have before --label-offset moves them, one a line"
        if named_by is None:
            who = f"{self.options.data} has directories of {known}"
            hint = "say which class each directory is: --classes FILE with the names of all classes, one a line"
        moved = f", and the labels are moved by {offset}" if offset else ""
        return RunError("ClassesDiffer", f"it tells {own} classes apart, {who}{moved}", at=at, hint=hint)

    def _detect(self, number: int, outputs: Mapping[str, Array], sample: _Sample) -> None:
        at, head, size = Loc(self.models[number].name), self.options.head, self.how[number].size
        assert size is not None
        for name, values in outputs.items():
            if values.dtype.kind != "f":
                raise RunError("IntegerOutput", f"output '{name}' is {values.dtype.name}, boxes are float32", at=at,
                               hint="quantize the model with float outputs")  # fmt: skip
        try:
            candidates = head.decode([values[0].astype(np.float64) for values in outputs.values()], size)
        except RunError as error:
            error.at = at
            raise
        self._check_classes(candidates, number, at)
        iou = head.iou if self.options.iou is None else self.options.iou
        found = detections(candidates, head, sample.size, self.how[number], iou, self.options.score)
        self.found[number].append(found)

    def _check_classes(self, candidates: Candidates, number: int, at: Loc) -> None:
        own, known = candidates.scores.shape[1], self.truth.classes
        if known and own != len(known):
            raise RunError("ClassesDiffer", f"it tells {own} classes apart, the labels know {len(known)}", at=at,
                           hint="give the annotations that the model was trained for, or --classes FILE with its names")  # fmt: skip # noqa: E501
        image = self.truth.images[len(self.found[number])]
        assert isinstance(image, Annotated)
        if not known and image.objects.classes.max(initial=0) >= own:
            label = int(image.objects.classes.max())
            raise outside(self.options.labels or self.options.data, image.name, label, own)

    def result(self) -> Evaluation:
        scores, said = self._scores()
        models = [
            Scored(
                name=model.name, where=model.where, seconds=model.seconds, figures=scores.figures[n],
                differences=scores.differences[n] if n else {},
                sqnr_db=close.db if n and close else None, cosine=close.cosine if n and close else None,
                agreement=close.agreement if n and close and self.options.task is not Task.DETECTION else None,
            )
            for n, (model, close) in enumerate(zip(self.models, self.close, strict=True))
        ]  # fmt: skip
        return Evaluation(
            task=self.options.task, images=self.done, left_out=len(self.truth.left_out), reference=0,
            models=tuple(models), classes=scores.classes, changes=tuple(self._changes(said)),
        )  # fmt: skip

    def _scores(self) -> tuple[Scores, list[Said]]:
        images, names = self.truth.images, self._names()
        if self.options.task is Task.CLASSIFICATION:
            labelled = [image for image in images if isinstance(image, Labelled)]
            best = [np.stack(each) for each in self.best]
            return classification(labelled, best, names), [said_of_classes(labelled, each, names) for each in best]
        if self.options.task is Task.DETECTION:
            return detection([image for image in images if isinstance(image, Annotated)], self.found, names)
        nothing: list[dict[str, Any]] = [{} for _ in self.models]
        return Scores(nothing, nothing, ()), []

    def _names(self) -> Sequence[str]:
        """Of classes, by the model's number: labels have their names before the offset moves them."""
        known, offset = self.truth.classes, self.options.offset
        if self.options.task is not Task.CLASSIFICATION or not known:
            return known
        return (*(f"class {number}" for number in range(offset)), *known[max(-offset, 0) :])

    def _changes(self, said: Sequence[Said]) -> Iterator[Change]:
        """The images about which models say something else than the first, the worst losses first, then by SQNR."""
        images, names = self.truth.images, self._names()
        for n, (model, close) in enumerate(zip(self.models[1:], self.close[1:], strict=True), 1):
            changes = []
            for i, name in enumerate(self.names):
                db = close.worst[i] if close else None
                if said and said[n].words[i] == said[0].words[i]:
                    continue
                image = images[i] if images else None
                gain = said[n].merit[i] - said[0].merit[i] if said else 0.0
                truth = named(image.label, names) if said and isinstance(image, Labelled) else ""
                words = (said[0].words[i], said[n].words[i]) if said else ("", "")
                path = image.path if image else self.options.data
                change = Change(image=name, path=path, model=model.name, truth=truth, before=words[0], after=words[1],
                                gain=int(np.sign(gain)), sqnr_db=db)  # fmt: skip
                changes.append((gain, 0.0 if db is None else db, change))
            yield from (change for *_, change in sorted(changes, key=lambda entry: entry[:2]))


def _outlined(outputs: Mapping[str, Array]) -> str:
    return ", ".join(f"{values.dtype.name}{list(values.shape)}" for values in outputs.values())


def _arrays(options: Options, models: Sequence[Model]) -> dict[str, Array]:
    """[samples, ...] by input name, as every model takes them. Raises SourceError BadData."""
    held = read_arrays(options.data)
    names = {tensor.name for model in models for tensor in model.inputs}
    if len(held) == 1 and len(names) == 1:
        held = {next(iter(names)): next(iter(held.values()))}
    for name in sorted(names):
        if name not in held:
            raise SourceError("BadData", f"no array '{name}', it holds {', '.join(held) or 'nothing'}",
                              at=Loc(str(options.data)), hint="name the arrays like the inputs")  # fmt: skip
    for model in models:
        for tensor in model.inputs:
            if held[tensor.name].shape[1:] != tensor.shape[1:] or held[tensor.name].dtype.name != tensor.dtype:
                found = held[tensor.name]
                raise SourceError(
                    "BadData", f"array '{tensor.name}' is {found.dtype.name}{list(found.shape)}, {model.name} takes "
                    f"{tensor.dtype}{['samples', *tensor.shape[1:]]}", at=Loc(str(options.data)),
                    hint="bring the array to this type and shape",
                )  # fmt: skip
    taken = {name: held[name] for name in sorted(names)}
    samples_in(taken, options.data)
    return {name: array[: options.limit] for name, array in taken.items()}
