"""furc eval: accuracy of models on labelled images, on the simulated NPU and on ONNX Runtime."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import saved, say, show
from furc.cli.pixels import pixel_options, refuse_without_images
from furc.cli.progress import Bar
from furc.cli.request import FILE, for_models, force_option, takes_request
from furc.data.pixels import Pixels
from furc.evaluate.boxes import SCORE
from furc.evaluate.evaluate import Options, evaluate_files
from furc.evaluate.heads.catalog import HEADS
from furc.evaluate.result import Task
from furc.output import EVALUATION, HTML, Outputs
from furc.report.eval_html import evaluation_html
from furc.report.eval_table import by_loss, changes_table, classes_table, models_table
from furc.request import Request
from isa.errors import counted

TOP = 10
LABELLED = (Task.CLASSIFICATION, Task.DETECTION)
READ_BY = {
    "--decode": ("boxes", (Task.DETECTION,)),
    "--nms-iou": ("boxes", (Task.DETECTION,)),
    "--score-threshold": ("boxes", (Task.DETECTION,)),
    "--label-offset": ("the class of a whole image", (Task.CLASSIFICATION,)),
}  # what an option is about, and the tasks that read it; others are about labels


@declare("eval", short_help="Accuracy on labelled images: INT8 on the NPU beside float models.")
@click.argument("models", type=FILE, nargs=-1, metavar="[MODEL]...")
@click.option("--float", "floats", type=FILE, multiple=True, metavar="MODEL",
              help="A model for ONNX Runtime, as it is; others are compared with the first. Repeatable.")  # fmt: skip
@click.option("--data", type=FILE, required=True, metavar="DIR",
              help="The images; with --task none also an .npz of arrays [samples, ...] by input name.")  # fmt: skip
@click.option("--labels", type=FILE, metavar="FILE|DIR",
              help="Classes: lines of file,label. Objects: COCO's annotations in JSON, or a folder of YOLO texts.  "
              "[default: the directories in DIR are the classes]")  # fmt: skip
@click.option("--task", type=click.Choice([task.value for task in Task]),
              help="none: compare outputs only.  [default: detection with --decode, else classification]")  # fmt: skip
@click.option("--decode", type=click.Choice(list(HEADS)), help="The head that a detector ends in.")
@click.option(
    "--classes", type=FILE, metavar="FILE.txt", help="Names of the classes, one a line, the first is label 0."
)
@click.option("--label-offset", type=int, metavar="N",
              help="Added to labels: 1 where the model's class 0 is the background.  [default: 0]")  # fmt: skip
@click.option("--nms-iou", type=click.FloatRange(0, 1), metavar="T",
              help="Boxes of a class that overlap more are one.  [default: of the head's authors]")  # fmt: skip
@click.option("--score-threshold", type=click.FloatRange(0, 1), metavar="T",
              help=f"Detections below do not count.  [default: {SCORE}]")  # fmt: skip
@pixel_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N images.  [default: all]")
@click.option("--partial", is_flag=True, help="Leave out images without label and labels without image.")
@click.option("--json", "json_file", type=FILE, metavar="FILE.json", help="Write everything as JSON.")
@click.option(
    "--html", "html_file", type=FILE, metavar="FILE.html", help="Write a page: classes and images that changed."
)
@click.option("--top", type=click.IntRange(min=0), default=TOP, metavar="N", help="Classes and images in the tables.")
@takes_request
@force_option
def command(
    request: Request, pixels: Pixels | None, models: tuple[Path, ...], floats: tuple[Path, ...], data: Path,
    labels: Path | None, task: str | None, decode: str | None, classes: Path | None, label_offset: int | None,
    nms_iou: float | None, score_threshold: float | None, limit: int | None, partial: bool, json_file: Path | None,
    html_file: Path | None, top: int, force: bool,
) -> None:  # fmt: skip
    """Run MODELs, each an ENF or a quantized model that is compiled first, on labelled images, and score them.

    Top-1 and top-5, or COCO's mAP, each with its 95% interval; the difference from the first float model, or else the
    first model, and the share kept; SQNR, cosine and top-1 agreement of the outputs. Pixels become inputs as in furc
    quantize, or, where no option of images is given, as each model notes it; inputs of integers take them as they are.
    """
    if not models and not floats:
        raise click.UsageError("Missing argument 'MODEL', or --float MODEL")
    if models:  # shapes are for float models too
        for_models(replace(request, input_shapes={}) if floats else request, *models)
    if data.suffix == ".npz":
        refuse_without_images("--data")
    kind = Task(task) if task else Task.DETECTION if decode else Task.CLASSIFICATION
    _refuse_unread(kind, task, {
        "--decode": decode, "--nms-iou": nms_iou, "--score-threshold": score_threshold, "--label-offset": label_offset,
        "--labels": labels, "--classes": classes, "--partial": partial or None,
    })  # fmt: skip
    read = [path for path in (*models, *floats, labels, classes, data) if path is not None]
    outputs = Outputs(tuple(read), force)
    outputs.check(json_file, EVALUATION)
    outputs.check(html_file, HTML)
    options = Options(
        data=data, labels=labels, task=kind, decode=decode or "", classes=classes, offset=label_offset or 0,
        pixels=pixels, iou=nms_iou, score=SCORE if score_threshold is None else score_threshold, partial=partial,
        limit=limit,
    )  # fmt: skip
    with Bar() as bar:
        found = evaluate_files(
            models, options, floats=floats, request=request, progress=bar, told=functools.partial(say, err=True)
        )
    if json_file is not None:
        outputs.add(json_file, json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n", EVALUATION)
    if html_file is not None:
        outputs.add(html_file, evaluation_html(found, html_file.parent), HTML)
    outputs.write()
    show(models_table(found))
    if top and by_loss(found):
        say("Classes that changed, the largest loss first:")
        show(classes_table(found, top))
    if top and found.changes:
        say(f"{counted(len(found.changes), 'image')} that changed, the worst first:")
        show(changes_table(found, top))
    for path in outputs.contents:
        saved(path)


def _refuse_unread(kind: Task, task: str | None, given: Mapping[str, object]) -> None:
    """Refuse an option that this kind of task does not read. task: what was asked for."""
    for option, value in given.items():
        about, readers = READ_BY.get(option, ("labels", LABELLED))
        if value is not None and kind not in readers:
            instead = (
                f"leave it out, or --task {task}" if task else "give --decode" if about == "boxes" else "leave it out"
            )
            raise click.UsageError(f"{option} is about {about}: {instead}")
