"""The ENF container: what a compiled model is, and its bytes (docs/enf.md).

Made for one target and one NPU configuration. Loading never executes anything from the file and survives any
bytes: what is wrong raises EnfError with the byte offset. The same content gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isa.encoding import WORD_BYTES
from isa.enf_container import COMPILE_AGAIN, MAX_HEADER_BYTES, Format, check_prefix, pack, unpack
from isa.enf_metadata import MetadataError, from_json, to_json
from isa.errors import EnfError, Loc
from isa.instructions import TABLE
from isa.layout import LayoutKind, Shape4
from isa.npu import NpuConfig
from isa.operands import DRAM_UNIT_BYTES

MAGIC = b"FURCENF\0"
VERSION = 1


@dataclass(frozen=True, slots=True)
class DramTensor:
    """An int8 tensor at the edge of the NPU program: its host name, DRAM address, order and shape."""

    name: str
    address: int
    order: LayoutKind
    shape: Shape4


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """An input or output of the model as the user sees it. dtype: float32, int8 or uint8; shape: any rank."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HostSegment:
    """An ONNX model that ONNX Runtime runs on the host, with the names of the tensors it takes and makes."""

    name: str
    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]  # one line an operator: "Quantize images"
    elements: int  # elements it quantizes or dequantizes, for the time model


@dataclass(frozen=True, slots=True)
class Segment:
    """Encoded instructions: where they lie in DRAM and where in instruction memory they run."""

    address: int
    bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class Operator:
    """A low-level operator of the program, for profiles and messages."""

    name: str  # LowLevelConv2d
    nodes: tuple[str, ...]  # ONNX nodes it came from
    shape: tuple[int, ...]  # of its result


@dataclass(frozen=True, slots=True, kw_only=True)
class Enf:
    """A compiled model.

    image: DRAM from address 0, constants and encoded segments; activations follow up to dram_bytes.
    The first segment is in instruction memory when the program starts. operator_of: one entry an executed
    instruction, in execution order, an index into operators or -1.
    """

    model_name: str
    furc_version: str
    target: str
    fingerprint: str
    batch: int
    inputs: tuple[ModelTensor, ...]
    outputs: tuple[ModelTensor, ...]
    npu_inputs: tuple[DramTensor, ...]
    npu_outputs: tuple[DramTensor, ...]
    head: HostSegment
    tail: HostSegment
    image: bytes
    dram_bytes: int
    sram_peak_bytes: int
    segments: tuple[Segment, ...]
    operators: tuple[Operator, ...]
    operator_of: tuple[int, ...]


# Where the fields that are no JSON lie; the order is that of the file.
_EXTERNAL = {"head": "head.model", "tail": "tail.model", "operator_of": "operator_of", "image": "image"}
_SECTIONS = ("metadata", *_EXTERNAL)

DTYPES = ("float32", "int8", "uint8")
MAX_DRAM_BYTES = DRAM_UNIT_BYTES << 28  # what an address field reaches
MAX_RANK = 32  # NumPy's
MAX_BATCHED = 32  # images of an NPU tensor: the widest its field holds


def write(enf: Enf) -> bytes:
    """The bytes of a compiled model. Raises EnfError BadEnf for content that `read` would refuse."""
    _refuse(_broken_rules(enf), Loc(enf.model_name))
    try:
        metadata = to_json(enf, frozenset(_EXTERNAL.values()))
    except UnicodeEncodeError as error:
        raise EnfError("BadEnf", f"a name is not text: {error.object!r}", at=Loc(enf.model_name)) from error
    operator_of = struct.pack(f"<{len(enf.operator_of)}i", *enf.operator_of)
    return pack(_format(), [metadata, enf.head.model, enf.tail.model, operator_of, enf.image])


def read(data: bytes) -> Enf:
    """The compiled model in some bytes. Raises EnfError: see docs/enf.md for the names."""
    metadata, head, tail, operator_of, image = unpack(_format(), data)
    if len(operator_of.data) % 4:
        raise _bad(f"{len(operator_of.data)} bytes are no array of int32", operator_of.at())
    values: dict[str, object] = {
        "head.model": head.data,
        "tail.model": tail.data,
        "operator_of": struct.unpack(f"<{len(operator_of.data) // 4}i", operator_of.data),
        "image": image.data,
    }
    try:
        enf = from_json(Enf, metadata.data, values)
    except MetadataError as error:
        raise _bad(str(error), metadata.at()) from error
    _refuse(_broken_rules(enf), metadata.at())
    return enf


def load(path: Path | str) -> Enf:
    """Read a file; one that is no ENF is refused after its first bytes. Raises EnfError."""
    # Read, not mapped: a mapped file that another process cuts off kills the reader.
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # before it is opened: opening a pipe waits for a writer
            raise EnfError("EnfUnreadable", "not a regular file", at=Loc(str(path)))
        with open(path, "rb") as file:
            start = file.read(MAX_HEADER_BYTES)
            with _placed(path):
                check_prefix(_format(), start, status.st_size)
            data = start + file.read()
    except OSError as error:
        what = error.strerror or str(error)
        raise EnfError(
            "EnfUnreadable", what, at=Loc(str(path)), hint="give a file that `furc compile` wrote"
        ) from error
    with _placed(path):
        return read(data)


def save(enf: Enf, path: Path | str) -> None:
    """Write a file in one step: it is whole, or as it was before. Raises EnfError."""
    data, target = write(enf), Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
            target.write_bytes(data)
            return
        beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
        try:
            with open(beside, "xb") as file:
                file.write(data)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise EnfError("EnfUnwritable", error.strerror or str(error), at=Loc(str(path))) from error


def check_compatible(enf: Enf, npu: NpuConfig) -> None:
    """Raises EnfError IncompatibleConfiguration unless the file was made for this very machine."""
    if (enf.target, enf.fingerprint) != (npu.name, npu.fingerprint()):
        if enf.target != npu.name:
            hint = f"{COMPILE_AGAIN} with --target-npu {npu.name}, or run it on {enf.target}"
        else:
            hint = f"{COMPILE_AGAIN} with the --npu-config of this machine"
        raise EnfError(
            "IncompatibleConfiguration",
            f"the file is for {enf.target} (configuration {enf.fingerprint}), "
            f"this machine is {npu.name} (configuration {npu.fingerprint()})",
            at=Loc(enf.model_name), hint=hint,
        )  # fmt: skip
    _refuse(_beyond_machine(enf, npu), Loc(enf.model_name))


@cache
def _format() -> Format:
    """The dialect is the instruction set: programs encoded with another table mean something else."""
    rows = [
        (s.mnemonic, s.opcode, str(s.unit), [(f.name, *f[1:]) for o in s.operands for f in o.fields()]) for s in TABLE
    ]
    digest = hashlib.sha256(repr(rows).encode()).digest()
    return Format(MAGIC, VERSION, int.from_bytes(digest[:8], "little"), _SECTIONS)


def _broken_rules(enf: Enf) -> Iterator[str]:
    """What does not hold, each with the field, the value and what was expected."""
    if enf.batch < 1:
        yield f"batch: {enf.batch} is less than 1"
    if not len(enf.image) <= enf.dram_bytes <= MAX_DRAM_BYTES:
        yield f"dram_bytes: {enf.dram_bytes} is outside {len(enf.image)} (the image)..{MAX_DRAM_BYTES}"
    if enf.sram_peak_bytes < 0:
        yield f"sram_peak_bytes: {enf.sram_peak_bytes} is negative"
    for side, tensors in (("inputs", enf.inputs), ("outputs", enf.outputs)):
        yield from _unique(side, (t.name for t in tensors))
        for i, tensor in enumerate(tensors):
            yield from _model_tensor(f"{side}[{i}] '{tensor.name}'", tensor)
    # What the host writes must not reach constants and programs: activations lie behind the image.
    for side, edge, lowest in (("npu_inputs", enf.npu_inputs, len(enf.image)), ("npu_outputs", enf.npu_outputs, 0)):
        yield from _unique(side, (t.name for t in edge))
        for i, placed in enumerate(edge):
            yield from _dram_tensor(f"{side}[{i}] '{placed.name}'", placed, lowest, enf.dram_bytes)
    yield from _host(enf)
    yield from _program(enf)


def _model_tensor(where: str, tensor: ModelTensor) -> Iterator[str]:
    if tensor.dtype not in DTYPES:
        yield f"{where}: dtype '{tensor.dtype}' is not one of {', '.join(DTYPES)}"
    if len(tensor.shape) > MAX_RANK:
        yield f"{where}: {len(tensor.shape)} axes, a tensor has at most {MAX_RANK}"
    elif any(extent < 1 for extent in tensor.shape) or math.prod(tensor.shape) > MAX_DRAM_BYTES:
        yield f"{where}: no tensor has the shape {tensor.shape}"


def _dram_tensor(where: str, tensor: DramTensor, lowest: int, dram_bytes: int) -> Iterator[str]:
    if any(extent < 1 for extent in tensor.shape) or tensor.shape.n > MAX_BATCHED:
        yield f"{where}: no NPU tensor has the shape {tuple(tensor.shape)}"
    elif not lowest <= tensor.address <= dram_bytes - tensor.shape.elements:
        stop = tensor.address + tensor.shape.elements
        yield f"{where}: bytes {tensor.address}..{stop} of DRAM are outside {lowest}..{dram_bytes}"
    if tensor.address % DRAM_UNIT_BYTES:
        yield f"{where}: address {tensor.address} is not a multiple of {DRAM_UNIT_BYTES}"


def _host(enf: Enf) -> Iterator[str]:
    """Every tensor that a part takes must come from a part before it."""
    inputs = {t.name for t in enf.inputs}
    npu_inputs, npu_outputs = {t.name for t in enf.npu_inputs}, {t.name for t in enf.npu_outputs}
    before_npu = inputs | set(enf.head.outputs)
    before_tail = before_npu | npu_outputs
    wants = (
        ("head.inputs", set(enf.head.inputs), inputs),
        ("npu_inputs", npu_inputs, before_npu),
        ("tail.inputs", set(enf.tail.inputs), before_tail),
        ("outputs", {t.name for t in enf.outputs}, before_tail | set(enf.tail.outputs)),
    )
    for where, taken, made in wants:
        for name in sorted(taken - made):
            yield f"{where}: nothing makes '{name}'"
    for where, segment in (("head", enf.head), ("tail", enf.tail)):
        if segment.outputs and not segment.inputs:
            yield f"{where}.outputs: '{segment.outputs[0]}' is made of nothing, the segment has no inputs"
        if segment.elements < 0:
            yield f"{where}.elements: {segment.elements} is negative"


def _program(enf: Enf) -> Iterator[str]:
    if not enf.segments:
        yield "segments: a program has at least one"
    for i, segment in enumerate(enf.segments):
        if segment.address % DRAM_UNIT_BYTES or not 0 <= segment.address <= len(enf.image) - segment.bytes:
            stop = segment.address + segment.bytes
            yield f"segments[{i}]: bytes {segment.address}..{stop} are not an aligned part of the image"
        if segment.bytes < WORD_BYTES or segment.bytes % WORD_BYTES:
            yield f"segments[{i}]: {segment.bytes} bytes are no whole instructions"
        if segment.offset < 0 or segment.offset % WORD_BYTES:
            yield f"segments[{i}]: offset {segment.offset} is not a place in instruction memory"
    for i, operator in enumerate(enf.operators):
        if any(extent < 0 for extent in operator.shape):
            yield f"operators[{i}] '{operator.name}': no tensor has the shape {operator.shape}"
    if enf.operator_of and not -1 <= min(enf.operator_of) <= max(enf.operator_of) < len(enf.operators):
        at, index = next((i, o) for i, o in enumerate(enf.operator_of) if not -1 <= o < len(enf.operators))
        yield f"operator_of[{at}]: {index} is outside -1..{len(enf.operators) - 1}"


def _beyond_machine(enf: Enf, npu: NpuConfig) -> Iterator[str]:
    if enf.dram_bytes > npu.dram_bytes:
        yield f"dram_bytes: {enf.dram_bytes}, the machine has {npu.dram_bytes}"
    if enf.sram_peak_bytes > npu.sram_bytes:
        yield f"sram_peak_bytes: {enf.sram_peak_bytes}, the machine has {npu.sram_bytes}"
    for i, segment in enumerate(enf.segments):
        if segment.offset + segment.bytes > npu.instruction_memory_bytes:
            end = segment.offset + segment.bytes
            yield f"segments[{i}]: ends at byte {end} of {npu.instruction_memory_bytes} of instruction memory"


def _unique(where: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{where}: two tensors are called '{name}'"
        seen.add(name)


def _refuse(broken: Iterable[str], at: Loc) -> None:
    """All broken rules as one error; the first is its message."""
    rules = list(broken)
    if rules:
        raise EnfError("BadEnf", rules[0], at=at, hint=COMPILE_AGAIN, also=tuple(rules[1:10]))


def _bad(what: str, at: Loc) -> EnfError:
    return EnfError("BadEnf", what, at=at, hint=COMPILE_AGAIN)


@contextlib.contextmanager
def _placed(path: Path | str) -> Iterator[None]:
    """Say which file an error is in."""
    try:
        yield
    except EnfError as error:
        at = Loc(str(path), error.at.nodes, error.at.detail)
        raise EnfError(error.name, error.message, at=at, hint=error.hint, also=error.also) from error
