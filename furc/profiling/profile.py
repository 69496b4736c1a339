"""furc.profile: how long a binary takes on its machine and where the cycles go. Timing alone: no data is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from furc.profiling.bound_by import BoundBy, bound_by, length, union
from furc.profiling.host import HostWork, Moment, host_work
from furc.profiling.lower_bound import LowerBound, lower_bound
from furc.profiling.recorded import Engine, Recorded, Slice, record
from furc.profiling.run_share import run_shares
from furc.reading import calls_itself
from isa import enf as enf_file
from isa import npu as npus
from isa.encoding import instruction_bytes
from isa.enf import MAGIC, Enf, NpuStep
from isa.errors import ConfigError, Loc, counted
from isa.instructions import LoadProgram
from isa.npu import NpuConfig

if TYPE_CHECKING:
    from furc.onnx.files import Source as Model

MOST_SHOWN = 8  # operators in a repr


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProfile:
    """One operator. cycles = load + compute + store, as in the vendor's report: work, not time, for engines overlap.

    load_cycles, store_cycles: DRAM transfers. compute_cycles: the tensor unit is busy with it, main and sub counted
    once where both are. run_cycles: of the run, those in which the run waits for it (furc/profiling/run_share.py).
    start_cycle, end_cycle: first and last cycle of any of its work. Host operators have host_ms and a tensor, and no
    cycles. mac_utilization: of the peak during cycles, 0 to 1. index: into Enf.operators or -1.
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
    run_cycles: float = 0.0
    start_cycle: float = 0.0
    end_cycle: float = 0.0
    macs: int = 0
    mac_utilization: float = 0.0
    dram_bytes: int = 0
    instruction_bytes: int = 0
    bound_by: BoundBy
    host_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Profile:
    """A whole run, as every run but the first: weights that stay in SRAM are there.

    cycles: on the NPU, first instruction to last of every step. latency_ms = npu_ms + host_ms. latency_low_ms,
    latency_high_ms: where the latency of a card is expected to lie, npu_ms being off by up to npu.timing_error.
    first_npu_ms: of the first run after loading the binary. lower_bound: what no schedule could beat. dram_bytes:
    traffic of a run. program_loads: instruction memory segments loaded while running.
    """

    model: str
    target: str
    batch: int
    cycles: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    npu_ms: float
    first_npu_ms: float
    host_ms: float
    lower_bound: LowerBound
    dram_bytes: int
    macs: int
    mac_utilization: float
    instruction_bytes: int
    program_loads: int
    sram_peak_bytes: int
    operators: tuple[OperatorProfile, ...]
    host: tuple[HostWork, ...]
    recorded: Recorded = field(compare=False)

    def __repr__(self) -> str:
        head = f"<Profile of '{self.model}' on {self.target}, batch {self.batch}: {self.latency_ms:.3f} ms"
        lines = [f"{head}, NPU {self.npu_ms:.3f} ms ({self.cycles:.0f} cycles), host {self.host_ms:.3f} ms"]
        use, traffic = f"{100 * self.mac_utilization:.1f}% of the peak", f"{self.dram_bytes} B of DRAM traffic"
        lines.append(f"  {self.macs} MACs, {use}, {traffic}, SRAM peak {self.sram_peak_bytes} B")
        per_ms = 1 / self.recorded.npu.milliseconds(1)
        largest = sorted(self.operators, key=lambda o: -(o.cycles + o.host_ms * per_ms))[:MOST_SHOWN]
        lines += [f"  {_operator_line(o)}" for o in largest]
        rest = len(self.operators) - len(largest)
        return "\n".join([*lines, f"  and {counted(rest, 'more operator')}>" if rest else "  >"])

    def to_json(self) -> dict[str, object]:
        """The keys that `furc profile --format json` promises."""
        return {
            "model": self.model,
            "target": self.target,
            "batch": self.batch,
            "cycles": _rounded(self.cycles),
            "latency_ms": _rounded(self.latency_ms),
            "latency_low_ms": _rounded(self.latency_low_ms),
            "latency_high_ms": _rounded(self.latency_high_ms),
            "npu_ms": _rounded(self.npu_ms),
            "first_npu_ms": _rounded(self.first_npu_ms),
            "host_ms": _rounded(self.host_ms),
            "lower_bound_ms": {name: _rounded(ms) for name, ms in self.lower_bound._asdict().items()},
            "dram_bytes": self.dram_bytes,
            "macs": self.macs,
            "mac_utilization": _rounded(self.mac_utilization),
            "resident_weight_bytes": self.recorded.weights.resident,
            "reloaded_weight_bytes": self.recorded.weights.reloaded,
            "instruction_bytes": self.instruction_bytes,
            "program_loads": self.program_loads,
            "sram_peak_bytes": self.sram_peak_bytes,
            "operators": [_operator_json(operator) for operator in self.operators],
        }


def _operator_line(o: OperatorProfile) -> str:
    spent = f"{o.host_ms:.3f} ms on the host" if o.bound_by is BoundBy.HOST else f"{o.cycles:.0f} cycles, {o.bound_by}"
    return f"{' '.join([o.name, *o.onnx_nodes[:2], o.tensor]).strip()}: {spent}"


def profile(
    model: Enf | Model,
    *,
    npu: NpuConfig | None = None,
    target_npu: str | None = None,
    batch_size: int | None = None,
    compiler_config: Mapping[str, object] | None = None,
) -> Profile:
    """Profile a binary, or a quantized model, which is compiled first.

    model: an Enf, a path, bytes or a ModelProto. npu: a what-if machine. The other arguments, and what they are where
    nothing is said, are those of furc.compile; a binary has its own. Raises FurcError; ConfigError AlreadyCompiled
    where they say something else than the binary.
    """
    enf = _binary(model)
    if enf is not None:
        _refuse_others(enf, target_npu, batch_size, compiler_config)
    else:
        from furc.compiler import DEFAULT_TARGET, compile  # a binary can be profiled without onnx

        target = DEFAULT_TARGET if target_npu is None else target_npu
        batch = 1 if batch_size is None else batch_size
        enf = compile(model, target_npu=target, batch_size=batch, compiler_config=compiler_config, npu=npu)
    return summarize(record(enf, npu if npu is not None else npus.target(enf.target)))


def _binary(model: Enf | Model) -> Enf | None:
    if isinstance(model, Enf):
        return model
    if isinstance(model, bytes):
        return enf_file.read(model) if model.startswith(MAGIC) else None
    if isinstance(model, str | Path):
        return enf_file.load(model) if is_enf(Path(model)) else None
    return None


def _refuse_others(enf: Enf, target: str | None, batch: int | None, config: Mapping[str, object] | None) -> None:
    settings = config or None
    asked = {"target_npu": (target, enf.target), "batch_size": (batch, enf.batch), "compiler_config": (settings, None)}
    for name, (value, own) in asked.items():
        if value is not None and value != own:
            what = f"{name} {value} is for models: this binary is compiled already, for {enf.target}, batch {enf.batch}"
            raise ConfigError(
                "AlreadyCompiled", what, at=Loc(enf.model_name), hint="give the model that it was compiled from"
            )


def is_enf(path: Path) -> bool:
    """True for a file that calls itself an ENF, by its name or by its first bytes."""
    return calls_itself(path, ".enf", MAGIC)


def summarize(recorded: Recorded) -> Profile:
    """The profile of a recorded run."""
    enf, npu, cycles = recorded.enf, recorded.npu, recorded.timeline.cycles
    costs = [event.cost for event in recorded.timeline.events]
    macs = sum(cost.macs for cost in costs)
    host = host_work(enf, npu)
    npu_ms, host_ms = npu.milliseconds(cycles), sum(work.ms for work in host)
    return Profile(
        model=enf.model_name,
        target=npu.title,
        batch=enf.batch,
        cycles=cycles,
        latency_ms=npu_ms + host_ms,
        latency_low_ms=npu_ms / (1 + npu.timing_error) + host_ms,
        latency_high_ms=npu_ms / (1 - npu.timing_error) + host_ms,
        npu_ms=npu_ms,
        first_npu_ms=npu.milliseconds(recorded.first_cycles),
        host_ms=host_ms,
        lower_bound=lower_bound(enf, npu, recorded.timeline.events),
        dram_bytes=sum(cost.dram_bytes for cost in costs),
        macs=macs,
        mac_utilization=_utilization(macs, cycles, npu),
        instruction_bytes=sum(segment.bytes for segment in enf.segments),
        program_loads=sum(isinstance(event.instruction, LoadProgram) for event in recorded.timeline.events),
        sram_peak_bytes=enf.sram_peak_bytes,
        operators=tuple(_in_order(recorded, host)),
        host=host,
        recorded=recorded,
    )


def _in_order(recorded: Recorded, host: Sequence[HostWork]) -> Iterator[OperatorProfile]:
    """Step by step: the host before a program, the operators that begin in it, the host after it."""
    found, run = _operators(recorded), 0
    for index, step in enumerate(recorded.enf.steps):
        yield from (_host_profile(w) for w in host if (w.step, w.moment) == (index, Moment.BEFORE))
        if isinstance(step, NpuStep):
            yield from (operator for first, operator in found if first == run)
            run += 1
        yield from (_host_profile(w) for w in host if (w.step, w.moment) == (index, Moment.AFTER))


def _operators(recorded: Recorded) -> list[tuple[int, OperatorProfile]]:
    """In the order in which they first do something, with the NPU step in which they do."""
    mine: dict[int, list[Slice]] = {}
    for piece in recorded.slices:
        mine.setdefault(piece.operator, []).append(piece)
    shares = run_shares(recorded.slices)
    found = [
        (min(p.run for p in pieces), _operator(recorded, index, pieces, shares.get(index, 0.0)))
        for index, pieces in mine.items()
    ]
    return sorted(found, key=lambda one: (one[0], one[1].start_cycle, one[1].end_cycle))


def _operator(recorded: Recorded, index: int, pieces: list[Slice], run_cycles: float) -> OperatorProfile:
    spans: dict[Engine, list[tuple[float, float]]] = {engine: [] for engine in Engine}
    for piece in pieces:
        spans[piece.engine].append((piece.start, piece.stop))
    load, store = (length(spans[engine]) for engine in (Engine.DMA_IN, Engine.DMA_OUT))
    compute = union(spans[Engine.MAIN] + spans[Engine.SUB])
    macs = sum(piece.event.cost.macs for piece in pieces)
    working = [piece for piece in pieces if piece.event.works] or pieces
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
        run_cycles=run_cycles,
        start_cycle=min(piece.start for piece in working),
        end_cycle=max(piece.event.end for piece in working),
        macs=macs,
        mac_utilization=_utilization(macs, load + compute + store, recorded.npu),
        dram_bytes=sum(piece.event.cost.dram_bytes for piece in pieces),
        instruction_bytes=sum(instruction_bytes(piece.event.instruction) for piece in pieces),
        bound_by=bound_by(pieces),
    )


def _utilization(macs: int, cycles: float, npu: NpuConfig) -> float:
    return macs / (cycles * npu.macs_per_cycle) if cycles else 0.0


def _host_profile(work: HostWork) -> OperatorProfile:
    return OperatorProfile(
        name=work.name,
        tensor=work.tensor,
        onnx_nodes=work.nodes,
        shape=work.shape,
        bound_by=BoundBy.HOST,
        host_ms=work.ms,
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
        "run_cycles": _rounded(operator.run_cycles),
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
