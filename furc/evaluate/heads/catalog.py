"""Every head that furc reads, by the name that --decode takes."""

from __future__ import annotations

from furc.evaluate.heads import fastestdet, yolov5, yolov8, yolox
from furc.evaluate.heads.head import Head

HEADS: dict[str, Head] = {head.name: head for head in (yolox.HEAD, yolov5.HEAD, yolov8.HEAD, fastestdet.HEAD)}
