"""Resolve the last addresses and put the binary together.

lir -> enf. DRAM holds constants, then the program's segments, then activations: addresses of activations move up by
the size of the program. Keeps: every instruction. Raises EncodeError where a field does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from isa.encoding import encode_program
from isa.enf import DramTensor, Enf, ModelTensor, Segment
from isa.instructions import Instruction
from isa.layout import align
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, OperandValue
from passes.emit.host_segments import head_segment, tail_segment
from passes.ir.dfg import HOST_OPS, Lower, Unlower
from passes.ir.graph import Graph, Value
from passes.ir.lir import Program, Step
from passes.ir.types import DType, InDram
from passes.ir.windows import Windows
from passes.options import CompileOptions
from passes.schedule.occupancy import peak_bytes_per_slice


def link_program(program: Program, options: CompileOptions, furc_version: str) -> Enf:
    """The ENF of a program."""
    npu, graph = options.npu, program.graph
    shift = _program_bytes(program, npu)
    encoded = [encode_program([_moved(s.instruction, program, shift) for s in part]) for part in _parts(program)]
    half = npu.instruction_memory_bytes // 2
    segments = tuple(
        Segment(program.boundary + index * half, len(code), index % 2 * half) for index, code in enumerate(encoded)
    )
    image = bytearray(align(segments[-1].address + segments[-1].bytes, npu.dram_alignment_bytes))
    for value in graph.constants:
        if isinstance(value.type.place, InDram) and value.type.place.address is not None:
            data = _dram_bytes(value, graph)
            image[value.type.place.address : value.type.place.address + len(data)] = data
    for segment, code in zip(segments, encoded, strict=True):
        image[segment.address : segment.address + len(code)] = code
    return Enf(
        model_name=graph.name,
        furc_version=furc_version,
        target=npu.name,
        fingerprint=npu.fingerprint(),
        batch=graph.batch,
        inputs=tuple(_model_tensor(v) for v in graph.inputs),
        outputs=tuple(_model_tensor(v) for v in graph.outputs),
        npu_inputs=tuple(_npu_tensor(*named, program, shift) for named in npu_inputs(graph).items()),
        npu_outputs=tuple(_npu_tensor(*named, program, shift) for named in npu_outputs(graph).items()),
        head=head_segment(graph),
        tail=tail_segment(graph),
        image=bytes(image),
        dram_bytes=_dram_end(graph, npu) + shift,
        sram_peak_bytes=peak_bytes_per_slice(graph, npu) * npu.num_slices,
        segments=segments,
        operators=tuple(program.operators),
        operator_of=tuple(step.operator for step in program.steps),
    )


def npu_inputs(graph: Graph) -> dict[str, Value]:
    """DRAM tensors that the host writes before the program starts, by the name it has them under."""
    made = [op.result for op in graph.ops if op.mnemonic in ("quantize", "recast")]
    lowered = {op.x.name: op.result for op in graph.ops if isinstance(op, Lower)}
    return {v.name: v for v in (*graph.inputs, *made) if _in_dram(v)} | lowered


def npu_outputs(graph: Graph) -> dict[str, Value]:
    """DRAM tensors that the host reads when the program has ended, by the name it has them under."""
    producers, read = graph.producers(), dict[str, Value]()
    for value in graph.outputs:
        op = producers.get(value)
        if isinstance(op, Unlower):
            read[value.name] = op.x
        elif isinstance(op, HOST_OPS) and op.x not in graph.inputs:
            read[op.x.name] = op.x
        elif _in_dram(value):
            read[value.name] = value
    return read


def _in_dram(value: Value) -> bool:
    """Shared by host and NPU. A host op between an input and an output of the model makes something else."""
    return isinstance(value.type.place, InDram) and value.type.dtype is DType.I8


def _parts(program: Program) -> Iterator[list[Step]]:
    bounds = [*program.segments, len(program.steps)]
    return (program.steps[start:stop] for start, stop in pairwise(bounds))


def _program_bytes(program: Program, npu: NpuConfig) -> int:
    """DRAM set aside for the program: half an instruction memory a segment, or all of the only one."""
    half = npu.instruction_memory_bytes // 2
    return half * max(2, len(program.segments))


def _moved(instruction: Instruction, program: Program, shift: int) -> Instruction:
    """The instruction with activation addresses behind the program."""
    if instruction.mnemonic == "loadp":
        return instruction
    values = tuple(_moved_value(value, program.boundary, shift) for value in instruction.values)
    return replace(instruction, values=values)


def _moved_value(value: OperandValue, boundary: int, shift: int) -> OperandValue:
    if isinstance(value, DramWindow | DramRange) and value.address >= boundary:
        return replace(value, address=value.address + shift)
    return value


def _dram_bytes(value: Value, graph: Graph) -> bytes:
    """A constant as it lies in DRAM: four-axis activations in their order, everything else as it is."""
    array = graph.constants[value]
    assert isinstance(value.type.place, InDram)
    if array.ndim == 4:
        axes = (0, 2, 1, 3) if value.type.place.order == 0 else (0, 2, 3, 1)
        array = array.transpose(axes)
    return array.tobytes()


def _model_tensor(value: Value) -> ModelTensor:
    return ModelTensor(value.name, value.type.dtype.numpy.name, value.type.shape)


def _npu_tensor(name: str, value: Value, program: Program, shift: int) -> DramTensor:
    root = Windows(program.graph).root(value)
    place = root.type.place
    assert isinstance(place, InDram) and place.address is not None and value.type.dtype is DType.I8
    address = place.address + (shift if place.address >= program.boundary else 0)
    return DramTensor(name, address, place.order, value.type.shape4)


def _dram_end(graph: Graph, npu: NpuConfig) -> int:
    end = 0
    for value in (*graph.inputs, *graph.constants, *(op.result for op in graph.ops)):
        if isinstance(value.type.place, InDram) and value.type.place.address is not None:
            end = max(end, value.type.place.address + value.type.elements * value.type.dtype.numpy.itemsize)
    return align(end, npu.dram_alignment_bytes)
