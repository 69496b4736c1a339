"""The form that the vendor's 0.10 quantizer writes: a float model whose metadata holds the calibrated ranges.

The value is YAML, one entry a tensor: its name, then minimum and maximum in a list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
import yaml

from furc.onnx.graph import Graph, activations
from furc.plain_yaml import PlainYamlError, read_yaml, shortened
from furc.quantizer.grids.affine import Range, as_range
from isa.errors import Loc, QuantizeError

MOST_CHARACTERS = 1 << 24  # of the ranges: a hundred thousand tensors
KEY = "FurisoaAI.CalibrationResult"  # spelled so by the vendor


def is_calibrated(model: onnx.ModelProto) -> bool:
    """Whether a model carries calibrated ranges."""
    return any(entry.key == KEY for entry in model.metadata_props)


def ranges_of(model: onnx.ModelProto) -> dict[str, Range]:
    """The ranges in a model's metadata. Raises QuantizeError[NoRanges, BadRange]."""
    return calibrated_ranges(Graph(model))


def calibrated_ranges(graph: Graph) -> dict[str, Range]:
    """As `ranges_of`, of a graph taken apart."""
    if KEY not in graph.metadata:
        raise QuantizeError(
            "NoRanges", "the model's metadata holds no calibrated ranges", hint="pass ranges, or calibrate the model"
        )
    try:
        entries = read_yaml(graph.metadata[KEY], MOST_CHARACTERS)
    except PlainYamlError as error:
        raise QuantizeError("BadRange", f"the metadata {KEY} is not YAML: {error}", at=Loc(detail=KEY)) from error
    if not isinstance(entries, dict):
        raise QuantizeError("BadRange", f"the metadata {KEY} is not a mapping from names to ranges", at=Loc(detail=KEY))
    return {str(name): _range(str(name), entry) for name, entry in entries.items()}


def write_calibrated(graph: Graph, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """The float model of `graph` with the ranges of its tensors. Raises QuantizeError[MissingRange, BadRange]."""
    names = activations(graph)
    missing = [name for name in names if name not in ranges]
    if missing:
        raise QuantizeError("MissingRange", f"the ranges have no entry for tensor '{missing[0]}'")
    entries = {name: list(as_range(ranges[name], f"tensor '{name}'")) for name in names}
    copy = graph.copied()
    copy.set_metadata(KEY, yaml.safe_dump(entries, explicit_start=True, sort_keys=False, width=2**20))
    return copy.model()


def _range(name: str, entry: object) -> Range:
    numbers = [end for end in entry if isinstance(end, int | float)] if isinstance(entry, list) else []
    if not isinstance(entry, list) or len(entry) != 2 or len(numbers) != 2:
        raise QuantizeError("BadRange", f"the metadata gives tensor '{name}' {shortened(entry)}, not two numbers")
    try:
        low, high = float(numbers[0]), float(numbers[1])
    except OverflowError:
        low = high = math.inf
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise QuantizeError("BadRange", f"the metadata gives tensor '{name}' [{low:g}, {high:g}], which is no range")
    return low, high
