"""Every head that furc reads, by the name that --decode takes."""

from __future__ import annotations

from furc.evaluate.heads import fastestdet, yolov5, yolov8, yolox
from furc.evaluate.heads.head import Head

HEADS: dict[str, Head] = {
    "yolox": yolox.HEAD, "yolov5": yolov5.HEAD, "yolov8": yolov8.HEAD, "fastestdet": fastestdet.HEAD,
}  # fmt: skip
