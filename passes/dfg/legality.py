"""What the NPU accelerates, as data: each operator, the conditions it is under, and what is done where one fails.

`verdict` judges an operator before anything is compiled; `check-operators`, docs/operators.md and `furc info` read the
same rows. Names, attributes and the order of inputs are ONNX's.

    verdict("Softmax", {"axis": 1}, [(36, 4)]) -> [Finding(... "Softmax with large batch (36 > 2) ...")]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from isa.instructions import BY_MNEMONIC, MOVE_AXES
from isa.operands import MAX_EXTENT, MAX_IMAGES

Shape = tuple[int, ...]
Attributes = Mapping[str, object]

_FIELDS = {field.name: field for operand in BY_MNEMONIC["conv"].operands for field in operand.fields()}
MAX_STRIDE, MAX_KERNEL, MAX_PAD = _FIELDS["sw"].high, _FIELDS["kw"].high, _FIELDS["pl"].high
MAX_GROUPS, MAX_DILATION, MAX_SOFTMAX_BATCH = 128, 12, 2

DOCUMENTED = "Furiosa SDK documentation 0.5 - 0.10, list of supported operators"
WIDER = "Furiosa SDK documentation 0.10, list of supported operators, and the notes of release 0.7"
ENCODED = "fields of furc's own instructions (docs/isa.md)"
OWN = "furc: the same numbers in INT8 as an operator of the list"
CUT = "cut the model before this node and run the rest on the host"


class OperatorSet(StrEnum):
    """Which of the vendor's lists a model is compiled for."""

    SEED28 = "seed28"
    SDK010 = "sdk0.10"


class Outcome(StrEnum):
    """What is done with an operator where a condition fails, or instead of what it says."""

    HOST = "host"
    REFUSED = "refused"
    REWRITTEN = "rewritten"


class Node(NamedTuple):
    """An operator as it is judged. shapes: of its inputs; None where there is none, or where it is not known."""

    op: str
    attributes: Attributes
    shapes: Sequence[Shape | None]

    def shape(self, index: int = 0) -> Shape | None:
        return self.shapes[index] if index < len(self.shapes) else None

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def integers(self, name: str) -> tuple[int, ...]:
        value = self.attributes.get(name)
        return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition of an operator. broken: the sentence that says how a node breaks it, None where it does not, or
    where only its operands tell; says: words that every refusal for this reason has, wherever it is found."""

    condition: str
    broken: Callable[[Node], str | None]
    says: str
    remedy: str
    fails: Outcome = Outcome.HOST
    source: str = DOCUMENTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A row: an operator of ONNX. since: the set that has it, None where it is rewritten into others or runs nowhere.

    how: what it becomes on the NPU."""

    name: str
    how: str
    since: OperatorSet | None = OperatorSet.SEED28
    rules: tuple[Rule, ...] = ()
    source: str = DOCUMENTED

    @property
    def rewritten(self) -> bool:
        return self.since is None


class Finding(NamedTuple):
    """Why an operator does not run on the NPU, or not as itself: with the value and the limit it breaks."""

    op: str
    problem: str
    condition: str
    outcome: Outcome
    remedy: str
    source: str


def verdict(
    op: str, attributes: Attributes, shapes: Sequence[Shape | None], operator_set: str = OperatorSet.SEED28
) -> list[Finding]:
    """Everything that keeps an operator from the NPU under an operator set; nothing where it runs there."""
    row = OPERATORS.get(op)
    if row is None or (row.since is OperatorSet.SDK010 and operator_set == OperatorSet.SEED28):
        return [_not_in(op)]
    return list(_broken(row, Node(op, attributes, shapes)))


def _not_in(op: str) -> Finding:
    condition = "is in the operator set"
    return Finding(op, f"'{op}' cannot be accelerated yet", condition, Outcome.HOST, without(op), DOCUMENTED)


def without(op: str, otherwise: str = CUT) -> str:
    """What to do about an operator that the set does not have: first of all, take the set that has it."""
    row, hint = OPERATORS.get(op), HINTS.get(op, otherwise)
    wider = row is not None and (row.since is OperatorSet.SDK010 or op == "Sub")  # a Sub of two tensors
    return f"compile with -c operator_set={OperatorSet.SDK010}, or {hint}" if wider else hint


def _broken(row: Operator, node: Node) -> Iterator[Finding]:
    for rule in row.rules:
        problem = rule.broken(node)
        if problem is not None:
            yield Finding(row.name, problem, rule.condition, rule.fails, rule.remedy, rule.source)


def accelerated(op: str, operator_set: str = OperatorSet.SEED28) -> bool:
    """Whether a set has an operator, or what it is rewritten into."""
    row = OPERATORS.get(op)
    return row is not None and (row.since is not OperatorSet.SDK010 or operator_set == OperatorSet.SDK010)


# conditions


def _groups(node: Node) -> str | None:
    group, x, w = node.integer("group", 1), node.shape(0), node.shape(1)
    made = w[0] if w and node.op == "Conv" else w[1] * group if w and len(w) > 1 else None
    depthwise = x is not None and len(x) > 1 and group == x[1] and made in (None, group)
    return None if group <= MAX_GROUPS or depthwise else f"Conv with {group} groups, Warboy takes at most {MAX_GROUPS}"


def _dilation(node: Node) -> str | None:
    largest = max(node.integers("dilations"), default=1)
    return None if largest <= MAX_DILATION else f"Conv with dilation {largest}, Warboy takes at most {MAX_DILATION}"


def _spatial(node: Node) -> str | None:
    x = node.shape()
    return too_many_axes(node.op, len(x) - 2) if x is not None else None


def too_many_axes(op: str, axes: int) -> str | None:
    """Why a window does not slide over so many axes; None where it does."""
    limit = "1 or 2" if op == "ConvTranspose" else "1 to 3"
    return None if 1 <= axes <= int(limit[-1]) else f"{op} over {axes} axes does not run on the NPU, only over {limit}"


def _window(node: Node) -> str | None:
    weights = node.shape(1) if node.op in ("Conv", "ConvTranspose") else None
    kernel = node.integers("kernel_shape") or (weights or ())[2:]
    for what, values, limit in (
        ("stride", node.integers("strides"), MAX_STRIDE),
        ("kernel extent", kernel, MAX_KERNEL),
        ("padding", node.integers("pads"), MAX_PAD),
    ):
        if max(values, default=1) > limit:
            return f"{node.op} with {what} {max(values)}, the machine takes at most {limit}"
    return None


def _images(node: Node) -> str | None:
    x = node.shape()
    if x is None or not x or x[0] <= MAX_IMAGES:
        return None
    return f"{node.op} of {x[0]} images, the machine addresses {MAX_IMAGES}"


def _batch(node: Node) -> str | None:
    x, axis = node.shape(), node.integer("axis", -1)
    if x is None or not x or axis in (0, -len(x)) or x[0] <= MAX_SOFTMAX_BATCH:
        return None
    return f"{node.op} with large batch ({x[0]} > {MAX_SOFTMAX_BATCH}) cannot be accelerated by Warboy"


def _order(node: Node) -> str | None:
    p = node.integer("p", 2)
    return None if p == 2 else f"{node.op} with p {p}: Warboy accelerates p = 2"


def _extents(node: Node) -> str | None:
    """What is computed over becomes channels."""
    x = node.shape()
    if x is None:
        return None
    rank, listed = len(x), node.integers("axes") or ((node.integer("axis", -1),) if "axis" in node.attributes else ())
    axes = {axis % rank for axis in listed} if rank else set()
    taken = math.prod(x[axis] for axis in axes)
    return None if taken <= MAX_EXTENT else f"{node.op} over {taken} elements, the machine takes at most {MAX_EXTENT}"


def _counted(node: Node) -> str | None:
    pads, x = any(node.integers("pads")), node.shape()
    if x is not None and len(x) == 5 and pads and not node.integer("count_include_pad", 0):
        return "AveragePool over 3 axes that leaves padding out of the mean does not run on the NPU"
    return None


def _maxima(node: Node) -> str | None:
    x = node.shape()
    if x is None:
        return None
    axes = range(2, len(x)) if node.op == "GlobalMaxPool" else sorted({axis % len(x) for axis in node.integers("axes")})
    return no_pool(node.op, x, list(axes)) if axes else None


def no_pool(op: str, shape: Shape, axes: list[int]) -> str | None:
    """Why a maximum over these axes, in order and at least one, is no pool under one window; None where it is."""
    first, behind = axes[0], axes[-1] + 1
    if axes != list(range(first, behind)) or first == 0:
        return f"{op} over axes {axes} of {list(shape)} does not run on the NPU as a pool"
    extents = shape[first:behind]
    taken = max(extents) if len(shape) == 4 and first >= 2 else math.prod(extents)
    return f"{op} over {taken} elements does not run on the NPU as a pool" if taken > MAX_KERNEL else None


def _elsewhere(node: Node) -> str | None:
    """Seen by who reads the model: it takes operands or results to tell."""
    return None


GROUPS = Rule(
    condition=f"group <= {MAX_GROUPS}, or depthwise",
    says="groups, Warboy takes at most",
    broken=_groups,
    remedy="use fewer groups or a depthwise Conv",
)
DILATION = Rule(
    condition=f"dilation <= {MAX_DILATION}", says="dilation ", broken=_dilation, remedy="use a smaller dilation"
)
SPATIAL = Rule(
    condition="over 1 to 3 spatial axes, ConvTranspose 1 or 2",
    says="axes does not run on the NPU, only over",
    broken=_spatial,
    remedy="fold an axis into the channels",
    source=ENCODED,
)
WINDOW = Rule(
    condition=f"stride <= {MAX_STRIDE} where it is taken, kernel <= {MAX_KERNEL}, padding <= {MAX_PAD}",
    says="the machine takes at most", broken=_window,
    remedy="use a smaller window", source=ENCODED,
)  # fmt: skip
IMAGES = Rule(
    condition=f"batch <= {MAX_IMAGES}",
    says="the machine addresses",
    broken=_images,
    remedy="use a smaller batch",
    source=ENCODED,
)
BATCH = Rule(
    condition=f"batch <= {MAX_SOFTMAX_BATCH}", says="with large batch (", broken=_batch,
    remedy="cut the model before this node and run the rest on the host, or use a smaller batch",
)  # fmt: skip
ORDER = Rule(condition="p = 2", says="Warboy accelerates p = 2", broken=_order, remedy="use p = 2, or " + CUT)
EXTENTS = Rule(
    condition=f"over at most {MAX_EXTENT} elements",
    says="elements, the machine takes at most",
    broken=_extents,
    remedy="pool before it",
    source=ENCODED,
)
MIRRORED = Rule(
    condition="mode reflect by less than an axis has, wrap by at most as much", broken=_elsewhere, says="Pad with mode",
    remedy="pad twice", source="furc: each side is a part of what is padded",
)  # fmt: skip
COUNTED = Rule(
    condition="over 3 axes padding counts, and no window reaches beyond it",
    says="AveragePool ", broken=_counted,
    remedy="set ceil_mode to 0, and count_include_pad to 1 where there are pads",
    source="furc: no instruction divides so",
)  # fmt: skip
INDICES = Rule(
    condition="without the indices of its maxima", broken=_elsewhere, says="with the indices of its maxima",
    remedy=CUT, source="furc: results are int8",
)  # fmt: skip
MAXIMA = Rule(
    condition=f"over neighbouring axes without the batch, of at most {MAX_KERNEL} elements; rows and columns each",
    says="does not run on the NPU as a pool",
    broken=_maxima,
    remedy="reduce one axis after another, or " + CUT,
    source=OWN,
)
BIAS = Rule(
    condition="a constant bias, one number a channel", broken=_elsewhere, says="bias",
    remedy="add what varies by an Add behind it", source="furc: weight registers hold one bias a channel",
)  # fmt: skip
WEIGHTS = Rule(
    condition="constant symmetric int8 weights", broken=_elsewhere, says="weights",
    remedy="quantize per output channel or per tensor", source="Warboy's MAC array; MatMul multiplies activations",
)  # fmt: skip
CONV, POOL = (GROUPS, DILATION, SPATIAL, WINDOW, IMAGES, WEIGHTS, BIAS), (SPATIAL, WINDOW, IMAGES)
TABLE = "a table of 256 entries"
MOVE = "a move, or a view without one"


def _rows() -> Iterator[Operator]:
    yield Operator(name="Add", how="an addition; of a number, a table")
    yield Operator(name="AveragePool", how="pooling", rules=(*POOL, COUNTED))
    yield Operator(name="Clip", how="bounds of the operator before it, or a table")
    yield Operator(name="Concat", how="joined in SRAM or DRAM; along W by moves")
    yield Operator(name="Conv", how="a contraction", rules=CONV)
    yield Operator(name="ConvTranspose", how="a contraction over spread inputs", rules=CONV)
    yield Operator(name="DepthToSpace", how=MOVE)
    yield Operator(name="Exp", how=TABLE)
    yield Operator(name="Expand", how=MOVE)
    yield Operator(name="Flatten", how=MOVE)
    yield Operator(name="Gemm", how="a contraction", rules=(WEIGHTS, BIAS))
    yield Operator(name="LpNormalization", how="one pass over channels for the norm, one to divide",
                   rules=(ORDER, BATCH, EXTENTS))  # fmt: skip
    yield Operator(name="MatMul", how="a contraction, or the product of two activations")
    yield Operator(name="MaxPool", how="pooling", rules=(*POOL, INDICES))
    yield Operator(name="Mean", how="a sum rounded once")
    yield Operator(name="Mul", how="a multiplication; by a number, a table")
    yield Operator(
        name="Pad", how="a pad, two for more than two axes; other modes by slices and concatenations", rules=(MIRRORED,)
    )
    yield Operator(name="ReduceL2", how="one pass over channels", rules=(EXTENTS,))
    yield Operator(name="ReduceSum", how="pooling over rows and columns, else a contraction with ones",
                   rules=(EXTENTS,))  # fmt: skip
    yield Operator(name="Relu", how="bounds of the operator before it, or a table")
    yield Operator(name="Reshape", how=MOVE)
    yield Operator(name="Sigmoid", how=TABLE)
    yield Operator(name="Slice", how=MOVE)
    yield Operator(name="Softmax", how="three passes over channels", rules=(BATCH, EXTENTS))
    yield Operator(name="Softplus", how=TABLE)
    yield Operator(name="Split", how=MOVE)
    yield Operator(name="Transpose", how=MOVE)
    yield Operator(name="Unsqueeze", how=MOVE)
    for name in ("Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Sqrt", "Tanh"):
        yield Operator(name=name, how=TABLE, since=OperatorSet.SDK010, source=WIDER)
    yield Operator(name="Pow", how="by a number, a table", since=OperatorSet.SDK010, source=WIDER)
    for name, how, rules in (
        ("BatchNormalization", "folded into the Conv before it or a depthwise Conv, when quantizing", ()),
        ("Cast", "nothing: float to float", ()),
        ("Div", "by a number, a table", ()),
        ("Dropout", "nothing", ()),
        ("Gather", "of indices that step evenly, a move", ()),
        ("GlobalAveragePool", "pooling, over volumes a contraction with ones", ()),
        ("GlobalMaxPool", "max pooling", (MAXIMA,)),
        ("Identity", "nothing", ()),
        ("Max", "comparisons of two", ()),
        ("Min", "comparisons of two", ()),
        ("ReduceMax", "max pooling", (MAXIMA,)),
        ("ReduceMean", "pooling over rows and columns, else a contraction with ones", (EXTENTS,)),
        (
            "Resize",
            "by whole factors: nearest, or linear of one element: a move; linear, in the wider set: a contraction",
            (),
        ),
        ("SpaceToDepth", MOVE, ()),
        ("Squeeze", MOVE, ()),
        ("Sub", "of a number, a table; of two tensors an addition, in the wider set", ()),
        ("Sum", "an addition, or a sum rounded once", ()),
        ("Tile", MOVE, ()),
        ("Upsample", "nearest neighbours by whole factors: a move", ()),
    ):
        yield Operator(name=name, how=how, since=None, rules=rules, source=OWN)


HINTS = {
    "BatchNormalization": "quantize the float model with furc quantize, which folds it or makes it a Conv",
    "Tanh": "replace it by an operator of the NPU, such as Sigmoid, or cut the model before this node",
    "LeakyRelu": "replace it by Relu and train or quantize again, or cut the model before this node",
    "HardSwish": "export it as Add, Clip, Mul and Mul, or replace it by Relu",
    "HardSigmoid": "export it as Mul, Add and Clip, or replace it by Sigmoid",
    "Resize": "use nearest neighbours and integer factors, or linear ones and the wider operator set, or cut the model "
    "before this node",
    "Upsample": "use nearest neighbours and integer factors, or cut the model before this node",
}


class Condition(NamedTuple):
    """What holds of every operator, by the name of the error that says where it does not."""

    error: str
    condition: str
    remedy: str


EVERYWHERE = (
    Condition("UnquantizedTensor", "its float tensors are quantized", "furc quantize MODEL"),
    Condition("AsymmetricWeights", "weights have one zero point", "quantize again with symmetric int8 weights"),
    Condition("EmptyTensor", "its tensors have elements", "use a larger input"),
    Condition("WrongShape", "its tensors have elements", "use a larger input"),
    Condition("TensorTooLarge", "its tensors have less than 2^31 elements", "use a smaller input"),
    Condition("TooManyAxes", f"a movement has at most {MOVE_AXES} loops", "split it into simpler ones"),
    Condition("OutOfSram", "a piece of it fits SRAM", "use a smaller input, or warboy-2pe where the error says so"),
    Condition("OutOfDram", "the model fits DRAM", "use a smaller batch or input"),
    Condition("BatchNotPossible", "it has a batch axis", "compile with the batch of the model"),
)


def named(error: str, message: str) -> str | None:
    """The condition of the table that a refusal is about; None where the table does not name it."""
    if error != "UnsupportedOperator":
        return next((c.condition for c in EVERYWHERE if c.error == error), None)
    if "cannot be accelerated yet" in message:
        return "is in the operator set"
    rows = sorted(OPERATORS.values(), key=lambda row: row.name not in message)  # first those that it mentions
    rules = [(row, rule) for row in rows for rule in row.rules]
    return next((f"{row.name}: {rule.condition}" for row, rule in rules if rule.says in message), None)


OPERATORS: dict[str, Operator] = {row.name: row for row in _rows()}
ACCELERATED_28 = tuple(row.name for row in OPERATORS.values() if row.since is OperatorSet.SEED28)
assert len(ACCELERATED_28) == 28
