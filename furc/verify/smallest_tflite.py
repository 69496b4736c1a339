"""The smallest part of a TFLite model in which an operator leaves LiteRT's numbers, as a TFLite model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from furc.onnx.files import read_bytes
from furc.request import Request
from furc.tflite.convert import converted
from furc.tflite.cutting import Part, part_above
from furc.tflite.litert import litert_run
from furc.tflite.model import read
from furc.verify.compare import Verification, model_and_data, verify_litert
from furc.verify.smallest import doubled
from isa.errors import LowerError


def minimal_tflite(
    path: Path | str,
    request: Request | None = None,
    files: Mapping[str, Path] | None = None,
    seed: int = 0,
    limit: int = 1,
) -> tuple[Part, Verification] | None:
    """As furc.verify.minimal, by LiteRT's numbers; None where no operator adds more than `limit` LSB.

    Raises FurcError.
    """
    asked, data = replace(request or Request(), batch=1), read_bytes(Path(path))
    _, inputs = model_and_data(path, asked, files or {}, seed)
    found = verify_litert(data, asked, inputs, str(path))
    bad = found.first_bad(limit)
    if bad is None:
        return None
    held = litert_run(data, inputs)
    target, _ = converted(data).places[bad.tensor]
    operators = len(read(data, str(path)).operators)
    for depth in (*doubled(operators), operators):
        part = part_above(data, target, depth)
        given = {n: held.get_tensor(i) for n, i in part.inputs.items()}
        try:
            own = verify_litert(part.data, asked, given, str(path))
        except LowerError:
            continue  # it is cut through a convolution that the file writes over blocks; the next part has all of it
        if own.first_bad(limit) is not None:
            return part, own
    return part_above(data, target, operators), found
