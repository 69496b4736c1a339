"""The levels as contracts: what must hold of a graph at each of them, as tables of small rules that `verify` runs.

A rule is a function that says what does not hold, each as a sentence. Passes get valid graphs and leave valid graphs;
so does text, which is a public input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from isa.enf import OPEN
from isa.errors import Loc, VerifyError, counted
from isa.layout import LayoutKind, Shape4
from passes.ir.graph import Graph
from passes.ir.op import ATTRIBUTES, REGISTRY, Level, Op, Role, Runs, Value, fields_in, name_at
from passes.ir.types import DType, InDram, InSram, Striped, TensorType

MOST_FINDINGS = 5
MOST_ELEMENTS = 1 << 40  # more than any DRAM holds: sizes are multiplied without fear below this
_ZEROS = {DType.I8: (-128, 127), DType.U8: (0, 255)}  # lowest and highest zero point
GraphRule = Callable[[Graph], Iterator[str]]


def verify(graph: Graph) -> None:
    """Check what holds at every level, at this one, and what each op says. Raises VerifyError with up to five findings.

    Ops are asked only where the graph is sound: their rules may rely on it."""
    for rules in (EVERY_LEVEL, RULES[graph.level], (_op_rules,)):
        problems = [problem for rule in rules for problem in rule(graph)]
        if problems:
            also = tuple(problems[1:MOST_FINDINGS])
            raise VerifyError("InvalidIr", problems[0], at=Loc(graph.source, detail=str(graph.level)), also=also)


def _values(graph: Graph) -> Iterator[Value]:
    """Every value once, as it is made."""
    yield from graph.inputs
    yield from graph.constants
    for op in graph.ops:
        yield from op.results


# at every level


def _made_once(graph: Graph) -> Iterator[str]:
    seen: set[str] = set()
    for value in _values(graph):
        if value.name in seen:
            yield f"{value}: the name is used twice"
        seen.add(value.name)


def _made_before_read(graph: Graph) -> Iterator[str]:
    known: set[Value] = {*graph.inputs, *graph.constants}
    for op in graph.ops:
        for value in op.operands():
            if value not in known:
                yield f"{_shown(op)}: {_named(op, graph)} reads {value} before it is made"
        known.update(op.results)
    yield from (f"output {v} is never made" for v in graph.outputs if v not in known)


def _known_ops(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        if REGISTRY.get((graph.level, name_at(type(op), graph.level))) is not type(op):
            yield f"{_shown(op)}: {op.mnemonic} is not an op of {graph.level}"


def _types_are_possible(graph: Graph) -> Iterator[str]:
    """Extents may be open where an op that can leave them so makes the value, and only such ops read it."""
    may_be_open = {v for op in graph.ops if op.open_extents for v in op.results}
    if may_be_open:
        may_be_open -= {v for op in graph.ops if not op.open_extents for v in op.operands()}
    for value in _values(graph):
        type = value.type
        if type.is_open and value in may_be_open and type.quant is None:
            type = type.shaped(tuple(1 if extent == OPEN else extent for extent in type.shape))
        for problem in type_rules(type):
            yield f"{value}: {problem}"


def type_rules(type: TensorType) -> Iterator[str]:
    """What no tensor can be: sizes, and quantizations that no hardware computes with."""
    if min(type.shape, default=1) < 1 or math.prod(type.shape) > MOST_ELEMENTS:
        yield f"no tensor has the shape {list(type.shape)}"
    quant = type.quant
    if quant is None:
        return
    if len(quant.scale) != len(quant.zero):
        yield f"{counted(len(quant.scale), 'scale')} and {counted(len(quant.zero), 'zero point')}"
    if not all(map(math.isfinite, quant.scale)) or min(quant.scale, default=1) <= 0:
        yield "a scale is not positive and finite"
    low, high = _ZEROS.get(type.dtype, (-(1 << 31), (1 << 31) - 1))
    if min(quant.zero, default=low) < low or max(quant.zero, default=low) > high:
        outside = next(zero for zero in quant.zero if not low <= zero <= high)
        yield f"zero point {outside} is outside {low}..{high}"
    if quant.axis is not None and (quant.axis >= len(type.shape) or len(quant.scale) != type.shape[quant.axis]):
        yield f"{counted(len(quant.scale), 'scale')} along axis {quant.axis} of {list(type.shape)}"


def _constants_have_their_type(graph: Graph) -> Iterator[str]:
    for value, array in graph.constants.items():
        if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
            yield f"{value}: the constant is {array.dtype}{list(array.shape)}, its type {_type(value.type)}"


def _constants_stay_constants(graph: Graph) -> Iterator[str]:
    """What an op reads as a constant is one; below ldfg it comes from one, through `load_weights`."""
    known = set(graph.constants)
    for op in graph.ops:
        constants = op.reads(Role.CONSTANT)
        yield from (f"{_shown(op)}: {_named(op, graph)} needs {v} to be constant" for v in constants if v not in known)
        if constants and not op.activations():
            known.update(op.results)


def _outputs_are_computed(graph: Graph) -> Iterator[str]:
    """Neither a constant nor packed bytes is what a model gives."""
    fixed = set(graph.constants) | {v for op in _on_chip(graph) if not _made(op) for v in op.results}
    yield from (f"output {value} is a constant" for value in graph.outputs if value in fixed)


def _batch_is_positive(graph: Graph) -> Iterator[str]:
    if graph.batch < 1:
        yield f"a batch of {graph.batch}"


EVERY_LEVEL: tuple[GraphRule, ...] = (
    _made_once, _made_before_read, _known_ops, _types_are_possible, _constants_have_their_type,
    _constants_stay_constants, _outputs_are_computed, _batch_is_positive,
)  # fmt: skip


# at single levels


def _no_places(graph: Graph) -> Iterator[str]:
    for value in _values(graph):
        if value.type.place is not None:
            yield f"{value}: dfg knows no places"


def _npu_has_four_axes(graph: Graph) -> Iterator[str]:
    for op in _on_chip(graph):
        for value in (*op.activations(), *op.reads(Role.BUFFER), *_made(op)):
            if value.type.rank != len(Shape4._fields) or value.type.dtype is not DType.I8:
                yield f"{value}: {op.profiled_as} works on i8[n,c,h,w], not on {_type(value.type)}"


def _host_meets_npu_in_dram(graph: Graph) -> Iterator[str]:
    """Where places are known: a host op reads and makes int8 tensors in DRAM."""
    for op in graph.ops:
        if op.runs is Runs.HOST:
            for value in (*op.activations(), *op.results):
                if isinstance(value.type.place, InSram | Striped):
                    yield f"{value}: {op.mnemonic} runs on the host, which does not reach SRAM"


def _computes_in_sram(graph: Graph) -> Iterator[str]:
    """Commands compute on SRAM; what crosses to DRAM says so itself (load, store)."""
    for op in graph.ops:
        if op.runs is not Runs.NPU:
            continue
        for value in (*op.activations(), *op.reads(Role.BUFFER), *_made(op)):
            if not isinstance(value.type.place, InSram):
                yield f"{value}: {op.profiled_as} needs it in SRAM"
        for value in op.reads(Role.CONSTANT):
            if not isinstance(value.type.place, Striped):
                yield f"{value}: {op.profiled_as} needs it striped over SRAM"


def _computes_on_chip(graph: Graph) -> Iterator[str]:
    """ldfg: what is computed is made in SRAM; joined parts, boxes and the host's tensors may lie in DRAM."""
    for op in graph.ops:
        if op.runs is Runs.NPU and op.at_once and isinstance(op.result.type.place, InDram):
            yield f"{op.result}: {op.profiled_as} makes it in SRAM"


def _outputs_reach_the_host(graph: Graph) -> Iterator[str]:
    """Commands: what the model gives is the host's, or lies in DRAM."""
    for value in graph.outputs:
        if isinstance(value.type.place, InSram | Striped):
            yield f"output {value} lies in SRAM, which the host does not reach"


def _views_lie_where_their_buffer_does(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        part = op.alias()
        if part is not None and op.result.type.place != part[0].type.place:
            yield f"{op.result}: it is part of {part[0]}, which lies elsewhere"


def _places_are_known(graph: Graph) -> Iterator[str]:
    """gir: every tensor that the NPU touches has an address."""
    for op in graph.ops:
        for value in (*op.operands(), *op.results):
            place = value.type.place
            known = place.address if isinstance(place, InDram) else place.offset if place is not None else None
            if known is None and (op.runs is not Runs.HOST or place is not None):
                yield f"{value}: {op.profiled_as} needs its address"


def _layouts_spread_the_tensor(graph: Graph) -> Iterator[str]:
    for value in _values(graph):
        place = value.type.place
        if isinstance(place, InSram) and not (place.layout.ho >= 1 and place.layout.co >= 1):
            yield f"{value}: no tensor lies over {place.layout.ho}x{place.layout.co} slices"
        if isinstance(place, InDram) and place.order not in LayoutKind:
            yield f"{value}: no order {place.order}"


def _tensors_lie_where_they_can(graph: Graph) -> Iterator[str]:
    """The host writes inputs to DRAM; stripes are for packed bytes."""
    for value in graph.inputs:
        if isinstance(value.type.place, InSram | Striped):
            yield f"input {value} lies in SRAM, which the host does not reach"
    for value in (value for op in graph.ops for value in _made(op)):
        if isinstance(value.type.place, Striped):
            yield f"{value}: a tensor has a layout, stripes are for packed bytes"


LOW_LEVEL: tuple[GraphRule, ...] = (_npu_has_four_axes, _layouts_spread_the_tensor, _tensors_lie_where_they_can)
COMMAND_LEVEL: tuple[GraphRule, ...] = (
    *LOW_LEVEL, _host_meets_npu_in_dram, _outputs_reach_the_host, _computes_in_sram, _views_lie_where_their_buffer_does,
)  # fmt: skip
RULES: Mapping[Level, tuple[GraphRule, ...]] = {
    Level.DFG: (_no_places,),
    Level.LDFG: (*LOW_LEVEL, _computes_on_chip),
    Level.CDFG: COMMAND_LEVEL,
    Level.GIR: (*COMMAND_LEVEL, _places_are_known),
}


# what ops say


def _op_rules(graph: Graph) -> Iterator[str]:
    for op in graph.ops:
        yield from (f"{_shown(op)}: {_named(op, graph)}: {problem}" for problem in broken_rules(op, graph.level))


def broken_rules(op: Op, level: Level) -> list[str]:
    """Rules of the op, then its shapes. Both may unpack: text can give an op operands of any rank."""
    try:
        problems = [*_record_rules(op), *op.rules(level)]
        return problems or list(_wrong_shapes(op))
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
        return [f"it cannot read {', '.join(f'{v} {_type(v.type)}' for v in op.operands())}"]


def _wrong_shapes(op: Op) -> Iterator[str]:
    wanted = op.shapes()
    if len(wanted) != len(op.results):
        yield f"{len(op.results)} results, expected {len(wanted)}"
        return
    for value, shape in zip(op.results, wanted, strict=True):
        if value.type.shape != tuple(shape):
            yield f"the result is {list(value.type.shape)}, the shape rule gives {list(shape)}"


def _record_rules(op: Op) -> Iterator[str]:
    """Rules of the records that ops carry."""
    for field in fields_in(type(op), ATTRIBUTES):
        held = getattr(op, field.name)
        if hasattr(held, "rules"):
            yield from (f"{field.name}: {problem}" for problem in held.rules())


def _on_chip(graph: Graph) -> Iterable[Op]:
    return (op for op in graph.ops if op.runs is not Runs.HOST)


def _made(op: Op) -> tuple[Value, ...]:
    """Results that are tensors; packed bytes are none."""
    return () if op.reads(Role.CONSTANT) and not op.activations() else op.results


def _shown(op: Op) -> str:
    return ", ".join(map(str, op.results))


def _named(op: Op, graph: Graph) -> str:
    return name_at(type(op), graph.level)


def _type(type: TensorType) -> str:
    return f"{type.dtype}{list(type.shape)}"
