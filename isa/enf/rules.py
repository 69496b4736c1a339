"""What must hold of a compiled model: of any, and on a machine. A rule says field, value and expectation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from isa.encoding import WORD_BYTES
from isa.enf.container import COMPILE_AGAIN
from isa.enf.model import OPEN, DramTensor, Enf, HostStep, ModelTensor, NpuStep
from isa.errors import EnfError, Loc
from isa.npu import TARGETS, NpuConfig, target
from isa.operands import DRAM_UNIT_BYTES, MAX_DRAM_BYTES, MAX_IMAGES

DTYPES = ("float32", "int8", "uint8", "int32", "int64", "bool")
MAX_RANK = 32  # NumPy's


def check_rules(enf: Enf, at: Loc) -> None:
    """Raises EnfError BadEnf with all rules that are broken; the first is its message."""
    _refuse(broken_rules(enf), at)


def check_compatible(enf: Enf, npu: NpuConfig) -> None:
    """Raises EnfError IncompatibleConfiguration unless the file was made for this very machine."""
    if (enf.target, enf.fingerprint) != (npu.name, npu.fingerprint()):
        if enf.target != npu.name:
            # a what-if machine that has no name of its own is called as the target that it is based on
            again = f"--target-npu {npu.name}" if npu.is_target else "this --npu-config"
            hint = f"{COMPILE_AGAIN} with {again}, or run it on {made_for(enf)}"
        else:
            hint = f"give the --npu-config that it was compiled with, or {COMPILE_AGAIN} for this machine"
        raise EnfError(
            "IncompatibleConfiguration",
            f"the file is for {enf.target} (configuration {enf.fingerprint}), "
            f"this machine is {npu.name} (configuration {npu.fingerprint()})",
            at=Loc(enf.model_name), hint=hint,
        )  # fmt: skip
    _refuse(_beyond_machine(enf, npu), Loc(enf.model_name))


def is_for_target(enf: Enf) -> bool:
    """Whether a file was made for one of TARGETS as that is."""
    return enf.target in TARGETS and target(enf.target).fingerprint() == enf.fingerprint


def made_for(enf: Enf) -> str:
    """The machine of a file, as `NpuConfig.title` calls it."""
    return enf.target if enf.target not in TARGETS or is_for_target(enf) else f"{enf.target} (what-if)"


def broken_rules(enf: Enf) -> Iterator[str]:
    """What does not hold."""
    if enf.batch < 1:
        yield f"batch: {enf.batch} is less than 1"
    if not len(enf.image) <= enf.dram_bytes <= MAX_DRAM_BYTES:
        yield f"dram_bytes: {enf.dram_bytes} is outside {len(enf.image)} (the image)..{MAX_DRAM_BYTES}"
    if enf.sram_peak_bytes < 0:
        yield f"sram_peak_bytes: {enf.sram_peak_bytes} is negative"
    for side, tensors in (("inputs", enf.inputs), ("outputs", enf.outputs)):
        yield from _unique(side, (t.name for t in tensors))
        for i, tensor in enumerate(tensors):
            yield from _model_tensor(f"{side}[{i}] '{tensor.name}'", tensor, open_extents=side == "outputs")
    for number, operator in enumerate(enf.operators):
        if any(extent < 0 for extent in operator.shape):
            yield f"operators[{number}] '{operator.name}': no tensor has the shape {operator.shape}"
    for number, step in enumerate(enf.steps):
        yield from _host_step(f"steps[{number}]", step) if isinstance(step, HostStep) else ()
        yield from _npu_step(f"steps[{number}]", step, enf) if isinstance(step, NpuStep) else ()
    yield from _tensors_between(enf)


def _model_tensor(where: str, tensor: ModelTensor, *, open_extents: bool) -> Iterator[str]:
    shape = [1 if open_extents and extent == OPEN else extent for extent in tensor.shape]
    if tensor.dtype not in DTYPES:
        yield f"{where}: dtype '{tensor.dtype}' is not one of {', '.join(DTYPES)}"
    if len(tensor.shape) > MAX_RANK:
        yield f"{where}: {len(tensor.shape)} axes, a tensor has at most {MAX_RANK}"
    elif any(extent < 1 for extent in shape) or math.prod(shape) > MAX_DRAM_BYTES:
        yield f"{where}: no tensor has the shape {tensor.shape}"


def _host_step(where: str, step: HostStep) -> Iterator[str]:
    if step.images < 1:
        yield f"{where}.images: {step.images} is less than 1"
    if step.images > 1 and not step.inputs:
        yield f"{where}.images: {step.images}, without an input to cut"
    if not step.outputs:
        yield f"{where}.outputs: a host step makes at least one tensor"
    for number, operator in enumerate(step.operators):
        place = f"{where}.operators[{number}] '{operator.name}'"
        if any(extent < 0 and extent != OPEN for extent in operator.shape):
            yield f"{place}: no tensor has the shape {operator.shape}"
        if min(operator.bytes, operator.macs) < 0:
            yield f"{place}: {operator.bytes} bytes and {operator.macs} MACs; neither is negative"


def _npu_step(where: str, step: NpuStep, enf: Enf) -> Iterator[str]:
    # What the host writes must not reach constants and programs: activations lie behind the image.
    for side, edge, lowest in (("inputs", step.inputs, len(enf.image)), ("outputs", step.outputs, 0)):
        for i, placed in enumerate(edge):
            yield from _dram_tensor(f"{where}.{side}[{i}] '{placed.name}'", placed, lowest, enf.dram_bytes)
    yield from _unique(f"{where}.inputs", (t.name for t in step.inputs))
    if not step.segments:
        yield f"{where}.segments: a program has at least one"
    for i, segment in enumerate(step.segments):
        if segment.address % DRAM_UNIT_BYTES or not 0 <= segment.address <= len(enf.image) - segment.bytes:
            stop = segment.address + segment.bytes
            yield f"{where}.segments[{i}]: bytes {segment.address}..{stop} are not an aligned part of the image"
        if segment.bytes < WORD_BYTES or segment.bytes % WORD_BYTES:
            yield f"{where}.segments[{i}]: {segment.bytes} bytes are no whole instructions"
        if segment.offset < 0 or segment.offset % WORD_BYTES:
            yield f"{where}.segments[{i}]: offset {segment.offset} is not a place in instruction memory"
    if step.operator_of and not -1 <= min(step.operator_of) <= max(step.operator_of) < len(enf.operators):
        at, index = next((i, o) for i, o in enumerate(step.operator_of) if not -1 <= o < len(enf.operators))
        yield f"{where}.operator_of[{at}]: {index} is outside -1..{len(enf.operators) - 1}"


def _dram_tensor(where: str, tensor: DramTensor, lowest: int, dram_bytes: int) -> Iterator[str]:
    if any(extent < 1 for extent in tensor.shape) or tensor.shape.n > MAX_IMAGES:
        yield f"{where}: no NPU tensor has the shape {tuple(tensor.shape)}"
    elif not lowest <= tensor.address <= dram_bytes - tensor.shape.elements:
        stop = tensor.address + tensor.shape.elements
        yield f"{where}: bytes {tensor.address}..{stop} of DRAM are outside {lowest}..{dram_bytes}"
    if tensor.address % DRAM_UNIT_BYTES:
        yield f"{where}: address {tensor.address} is not a multiple of {DRAM_UNIT_BYTES}"


def _tensors_between(enf: Enf) -> Iterator[str]:
    """Every tensor that a step takes is an input or made by a step before it, and none is made twice."""
    made = {t.name for t in enf.inputs}
    for number, step in enumerate(enf.steps):
        for name in _names(step.inputs):
            if name not in made:
                yield f"steps[{number}].inputs: nothing makes '{name}'"
        for name in _names(step.outputs):
            if name in made:
                yield f"steps[{number}].outputs: '{name}' is there already"
            made.add(name)
    for tensor in enf.outputs:
        if tensor.name not in made:
            yield f"outputs: nothing makes '{tensor.name}'"


def _names(tensors: Iterable[str | DramTensor]) -> Iterator[str]:
    return (tensor if isinstance(tensor, str) else tensor.name for tensor in tensors)


def _beyond_machine(enf: Enf, npu: NpuConfig) -> Iterator[str]:
    if enf.dram_bytes > npu.dram_bytes:
        yield f"dram_bytes: {enf.dram_bytes}, the machine has {npu.dram_bytes}"
    if enf.sram_peak_bytes > npu.sram_bytes:
        yield f"sram_peak_bytes: {enf.sram_peak_bytes}, the machine has {npu.sram_bytes}"
    for number, step in enumerate(enf.steps):
        for i, segment in enumerate(step.segments if isinstance(step, NpuStep) else ()):
            end = segment.offset + segment.bytes
            if end > npu.instruction_memory_bytes:
                where, size = f"steps[{number}].segments[{i}]", npu.instruction_memory_bytes
                yield f"{where}: ends at byte {end} of {size} of instruction memory"


def _unique(where: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{where}: two tensors are called '{name}'"
        seen.add(name)


def _refuse(broken: Iterable[str], at: Loc) -> None:
    rules = list(broken)
    if rules:
        raise EnfError("BadEnf", rules[0], at=at, hint=COMPILE_AGAIN, also=tuple(rules[1:10]))
