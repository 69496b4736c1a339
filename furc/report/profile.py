"""furc.profile: how long a binary takes on its machine and where the cycles go. Timing alone: no data is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from furc.report.host import HostOperator, host_operators
from furc.report.recorded import Engine, Recorded, Slice, record
from isa import enf as enf_file
from isa import npu as npus
from isa.encoding import WORD_BYTES, body_words
from isa.enf import MAGIC, Enf
from isa.instructions import Instruction
from isa.npu import NpuConfig
from isa.timing.cost import Cost

if TYPE_CHECKING:
    from furc.onnx.files import Source as Model


class BoundBy(StrEnum):
    """What most of an operator's cycles go into."""

    MAC = "mac"
    FETCH = "fetch"
    VECTOR = "vector"
    DMA_IN = "dma_in"
    DMA_OUT = "dma_out"
    OVERHEAD = "overhead"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProfile:
    """One operator. cycles = load + compute + store, as in the vendor's report: work, not time, for engines overlap.

    load_cycles, store_cycles: DRAM transfers. compute_cycles: the tensor unit is busy with it, main and sub counted
    once where both are. start_cycle, end_cycle: first and last cycle of any of its work. Host operators have host_ms
    and a tensor, and no cycles. mac_utilization: of the peak during cycles, 0 to 1. index: into Enf.operators or -1.
    """

    name: str
    index: int = -1
    tensor: str = ""
    onnx_nodes: tuple[str, ...]
    shape: tuple[int, ...]
    cycles: float = 0.0
    load_cycles: float = 0.0
    compute_cycles: float = 0.0
    store_cycles: float = 0.0
    start_cycle: float = 0.0
    end_cycle: float = 0.0
    macs: int = 0
    mac_utilization: float = 0.0
    dram_bytes: int = 0
    instruction_bytes: int = 0
    bound_by: BoundBy
    host_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A whole run. cycles: on the NPU, first instruction to last. latency_ms = npu_ms + host_ms.

    dram_bytes: traffic of a run. program_loads: instruction memory segments loaded while running.
    """

    model: str
    target: str
    batch: int
    cycles: float
    latency_ms: float
    npu_ms: float
    host_ms: float
    dram_bytes: int
    macs: int
    mac_utilization: float
    instruction_bytes: int
    program_loads: int
    sram_peak_bytes: int
    operators: tuple[OperatorProfile, ...]
    host: tuple[HostOperator, ...]
    recorded: Recorded = field(repr=False, compare=False)

    def to_json(self) -> dict[str, object]:
        """The keys that `furc profile --format json` promises."""
        return {
            "model": self.model,
            "target": self.target,
            "batch": self.batch,
            "cycles": _rounded(self.cycles),
            "latency_ms": _rounded(self.latency_ms),
            "npu_ms": _rounded(self.npu_ms),
            "host_ms": _rounded(self.host_ms),
            "dram_bytes": self.dram_bytes,
            "macs": self.macs,
            "mac_utilization": _rounded(self.mac_utilization),
            "instruction_bytes": self.instruction_bytes,
            "program_loads": self.program_loads,
            "sram_peak_bytes": self.sram_peak_bytes,
            "operators": [_operator_json(operator) for operator in self.operators],
        }


def profile(
    model: Enf | Model,
    *,
    npu: NpuConfig | None = None,
    target_npu: str = "warboy-2pe",
    batch_size: int = 1,
    compiler_config: Mapping[str, object] | None = None,
) -> Profile:
    """Profile a binary, or a quantized model, which is compiled first.

    model: an Enf, a path, bytes or a ModelProto. npu: a what-if machine. The other arguments are those of
    furc.compile; a binary has its own. Raises FurcError.
    """
    enf = _binary(model)
    if enf is None:
        from furc.compiler import compile  # a binary can be profiled without onnx

        enf = compile(model, target_npu=target_npu, batch_size=batch_size, compiler_config=compiler_config, npu=npu)
    return summarize(record(enf, npu if npu is not None else npus.target(enf.target)))


def _binary(model: Enf | Model) -> Enf | None:
    if isinstance(model, Enf):
        return model
    if isinstance(model, bytes):
        return enf_file.read(model) if model.startswith(MAGIC) else None
    if isinstance(model, str | Path):
        return enf_file.load(model) if is_enf(Path(model)) else None
    return None


def is_enf(path: Path) -> bool:
    """True for a file that calls itself an ENF, by its name or by its first bytes."""
    if path.suffix == ".enf":
        return True
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def summarize(recorded: Recorded) -> Profile:
    """The profile of a recorded run."""
    enf, npu, cycles = recorded.enf, recorded.npu, recorded.timeline.cycles
    costs = [event.cost for event in recorded.timeline.events]
    macs = sum(cost.macs for cost in costs)
    host = host_operators(enf, npu)
    npu_ms, host_ms = npu.milliseconds(cycles), sum(operator.ms for operator in host)
    before = tuple(_host_profile(operator) for operator in host if operator.before)
    after = tuple(_host_profile(operator) for operator in host if not operator.before)
    return Profile(
        model=enf.model_name,
        target=enf.target,
        batch=enf.batch,
        cycles=cycles,
        latency_ms=npu_ms + host_ms,
        npu_ms=npu_ms,
        host_ms=host_ms,
        dram_bytes=sum(cost.dram_bytes for cost in costs),
        macs=macs,
        mac_utilization=_utilization(macs, cycles, npu),
        instruction_bytes=sum(segment.bytes for segment in enf.segments),
        program_loads=sum(event.instruction.mnemonic == "loadp" for event in recorded.timeline.events),
        sram_peak_bytes=enf.sram_peak_bytes,
        operators=(*before, *_operators(recorded), *after),
        host=host,
        recorded=recorded,
    )


def instruction_bytes(instruction: Instruction) -> int:
    """The bytes an instruction takes in instruction memory."""
    return (1 + (1 if instruction.wait else 0) + body_words(instruction.spec)) * WORD_BYTES


def _operators(recorded: Recorded) -> list[OperatorProfile]:
    """In the order in which they first do something."""
    mine: dict[int, list[Slice]] = {}
    for piece in recorded.slices:
        mine.setdefault(piece.operator, []).append(piece)
    found = [_operator(recorded, index, pieces) for index, pieces in mine.items()]
    return sorted(found, key=lambda operator: (operator.start_cycle, operator.end_cycle))


def _operator(recorded: Recorded, index: int, pieces: list[Slice]) -> OperatorProfile:
    spans: dict[Engine, list[tuple[float, float]]] = {engine: [] for engine in Engine}
    for piece in pieces:
        spans[piece.engine].append((piece.start, piece.stop))
    load, store = (_length(spans[engine]) for engine in (Engine.DMA_IN, Engine.DMA_OUT))
    compute = _union(spans[Engine.MAIN] + spans[Engine.SUB])
    macs = sum(piece.event.cost.macs for piece in pieces)
    operator = recorded.operator(index)
    return OperatorProfile(
        name=operator.name,
        index=index,
        onnx_nodes=operator.nodes,
        shape=operator.shape,
        cycles=load + compute + store,
        load_cycles=load,
        compute_cycles=compute,
        store_cycles=store,
        start_cycle=min(piece.start for piece in pieces),
        end_cycle=max(piece.event.end for piece in pieces),
        macs=macs,
        mac_utilization=_utilization(macs, load + compute + store, recorded.npu),
        dram_bytes=sum(piece.event.cost.dram_bytes for piece in pieces),
        instruction_bytes=sum(instruction_bytes(piece.event.instruction) for piece in pieces),
        bound_by=_bound_by(pieces, load, store, compute - _length(spans[Engine.MAIN])),
    )


def _bound_by(pieces: list[Slice], load: float, store: float, exposed: float) -> BoundBy:
    """The largest share. exposed: cycles of the sub context that main does not hide; the others cost nothing."""
    shares = {"dma_in": load, "dma_out": store, "overhead": 0.0, "mac": 0.0, "fetch": 0.0, "vector": 0.0}
    for piece in pieces:
        if piece.engine is Engine.MAIN:
            _share(shares, piece.event.cost)
    sub = dict.fromkeys(shares, 0.0)
    for piece in pieces:
        if piece.engine is Engine.SUB:
            _share(sub, piece.event.cost)
    whole = sum(sub.values())
    for part, cycles in sub.items():
        shares[part] += exposed * cycles / whole if whole else 0.0
    return BoundBy(max(shares, key=lambda part: shares[part]))


def _share(shares: dict[str, float], cost: Cost) -> None:
    """The parts of a tensor instruction: its overhead, and the slowest of what runs side by side in it."""
    shares["overhead"] += cost.overhead
    side_by_side = {"mac": cost.mac, "fetch": cost.fetch, "vector": cost.vector}
    slowest = max(side_by_side, key=lambda part: side_by_side[part])
    shares[slowest] += side_by_side[slowest]


def _length(spans: Iterable[tuple[float, float]]) -> float:
    return sum((stop - start for start, stop in spans), 0.0)


def _union(spans: list[tuple[float, float]]) -> float:
    """Cycles that at least one span covers."""
    covered, reached = 0.0, 0.0
    for start, stop in sorted(spans):
        covered += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    return covered


def _utilization(macs: int, cycles: float, npu: NpuConfig) -> float:
    return macs / (cycles * npu.macs_per_cycle) if cycles else 0.0


def _host_profile(operator: HostOperator) -> OperatorProfile:
    return OperatorProfile(
        name=operator.name,
        tensor=operator.tensor,
        onnx_nodes=(),
        shape=operator.shape,
        bound_by=BoundBy.HOST,
        host_ms=operator.ms,
    )


def _operator_json(operator: OperatorProfile) -> dict[str, object]:
    return {
        "name": operator.name,
        "tensor": operator.tensor,
        "onnx_nodes": list(operator.onnx_nodes),
        "shape": list(operator.shape),
        "cycles": _rounded(operator.cycles),
        "load_cycles": _rounded(operator.load_cycles),
        "compute_cycles": _rounded(operator.compute_cycles),
        "store_cycles": _rounded(operator.store_cycles),
        "start_cycle": _rounded(operator.start_cycle),
        "end_cycle": _rounded(operator.end_cycle),
        "macs": operator.macs,
        "mac_utilization": _rounded(operator.mac_utilization),
        "dram_bytes": operator.dram_bytes,
        "instruction_bytes": operator.instruction_bytes,
        "bound_by": str(operator.bound_by),
        "host_ms": _rounded(operator.host_ms),
    }


def _rounded(value: float) -> float:
    """Enough digits for every use, few enough to be read."""
    return round(value, 6)
