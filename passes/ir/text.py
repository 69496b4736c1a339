"""Text of the graph levels: show(parse(text)) == text, and parse(show(graph)) equals the graph.

    dfg "digits" batch=1 {
      in %images : f32[1,1,8,8]
      const %w : i8[4,1,3,3] q([0.5,0.25,0.5,1.0],0,axis=0)
      %q = quantize(x=%images) : i8[1,1,8,8] q(0.007843138,-128) loc("images")
      out %q
    }

Defaults are left out, one op a line, `//` starts a comment. Constants are in a side file (.npz) by value name.
"""

from __future__ import annotations

import difflib
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from lark import Lark, Token, Tree, UnexpectedInput

import passes.ops  # noqa: F401  declares every op that a text can name
from isa.errors import Loc, SourceError
from isa.layout import Layout, LayoutKind
from passes.ir.graph import Graph
from passes.ir.op import REGISTRY, Array, Level, Op, Value, name_at, op_fields
from passes.ir.types import DType, InDram, InSram, Place, Quant, Striped, TensorType, float32

_PLAIN = re.compile(r"[A-Za-z0-9_./]+")
MOST_DIGITS = 24


def show(graph: Graph) -> str:
    """The text of a graph, without what its constants hold."""
    pixels = f" pixels={json.dumps(graph.pixels)}" if graph.pixels else ""
    lines = [f"{graph.level} {json.dumps(graph.name)} batch={graph.batch}{pixels} {{"]
    lines += [f"  in {show_value(v)} : {show_type(v.type)}" for v in graph.inputs]
    lines += [f"  const {show_value(v)} : {show_type(v.type)}" for v in graph.constants]
    lines += [f"  {show_op(op, graph.level)}" for op in graph.ops]
    lines += [f"  out {show_value(v)}" for v in graph.outputs]
    return "\n".join([*lines, "}"]) + "\n"


def show_value(value: Value) -> str:
    return f"%{value.name}" if _PLAIN.fullmatch(value.name) else f"%{json.dumps(value.name)}"


def show_op(op: Op, level: Level) -> str:
    """One op on one line."""
    defaults = {f.name: f.default for f in fields(op)}
    operands, attributes = [], []
    for name, kind, _, _ in op_fields(type(op)):
        value = getattr(op, name)
        if kind == "attribute":
            if value != defaults[name]:
                attributes.append(f"{name}={_show_attribute(value)}")
        elif kind == "many":
            operands.append(f"{name}=[{', '.join(map(show_value, value))}]")
        elif value is not None:
            operands.append(f"{name}={show_value(value)}")
    braces = f" {{{', '.join(attributes)}}}" if attributes else ""
    nodes = f" loc({', '.join(map(json.dumps, op.loc.nodes))})" if op.loc.nodes else ""
    called = f"{name_at(type(op), level)}({', '.join(operands)}){braces}"
    types = ", ".join(show_type(v.type) for v in op.results)
    return f"{', '.join(map(show_value, op.results))} = {called} : {types}{nodes}"


def show_type(type: TensorType) -> str:
    """i8[1,16,8,8] q(0.5,-3) @sram:HCHCW(8x1)+0x400"""
    text = f"{type.dtype}[{','.join(map(str, type.shape))}]"
    if type.quant is not None:
        text += f" q({_show_quant(type.quant)})"
    if isinstance(type.place, InSram):
        text += f" @sram:{type.place.layout}{_show_offset(type.place.offset)}"
    elif isinstance(type.place, Striped):
        text += f" @stripes:{_show_offset(type.place.offset)}"
    elif isinstance(type.place, InDram):
        text += f" @dram:{type.place.order.name}{_show_offset(type.place.address)}"
    return text


def _show_quant(quant: Quant) -> str:
    if quant.axis is None:
        return f"{show_float(quant.s)},{quant.z}"
    zero = str(quant.zero[0]) if len(set(quant.zero)) == 1 else f"[{','.join(map(str, quant.zero))}]"
    return f"[{','.join(map(show_float, quant.scale))}],{zero},axis={quant.axis}"


def show_float(value: float) -> str:
    """The shortest decimal that gives the same float32 back."""
    return repr(float(str(np.float32(value))))


def _show_offset(offset: int | None) -> str:
    return "" if offset is None else f"+0x{offset:x}"


def _show_attribute(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return show_float(value)
    kind: Any = type(value)
    if record_fields(kind):
        shown = {name: getattr(value, name) for name in record_fields(kind)}
        defaults = _record_defaults(kind)
        members = (f"{k}={_show_attribute(v)}" for k, v in shown.items() if k not in defaults or defaults[k] != v)
        return f"({', '.join(members)})"
    if isinstance(value, tuple):
        return f"[{','.join(_show_attribute(v) for v in value)}]"
    return json.dumps(value)


@cache
def record_fields(kind: Any) -> dict[str, Any]:
    """Fields of a record type, a dataclass or a named tuple, with their types; none for other types."""
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return typing.get_type_hints(kind)
    return {}


@cache
def _record_defaults(kind: Any) -> dict[str, object]:
    if is_dataclass(kind):
        return {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    return dict(getattr(kind, "_field_defaults", {}))


@cache
def _parser() -> Lark:
    grammar = (resources.files("passes.ir") / "ir.lark").read_text()
    return Lark(grammar, parser="lalr", maybe_placeholders=True)


def parse(text: str, constants: Mapping[str, Array], source: str = "") -> Graph:
    """The graph of a text. Raises SourceError BadIrText with line and column."""
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        at = Loc(source, detail=f"{error.line}:{error.column}")
        line = text.split("\n")[error.line - 1].strip() if 0 < error.line <= text.count("\n") + 1 else ""
        what = f"not IR text: {line[:120]!r}" if text.strip() else "there is no text"
        raise SourceError("BadIrText", what, at=at, hint="docs/ir.md has the grammar") from error
    return _Builder(source, constants).build(tree)


class _Builder:
    """Turns lark's tree into a Graph; nothing of lark leaves this class."""

    def __init__(self, source: str, constants: Mapping[str, Array]) -> None:
        self.source, self.arrays, self.values = source, constants, dict[str, Value]()

    def build(self, tree: Tree[Token]) -> Graph:
        header, *items = typing.cast(list[Tree[Token]], tree.children)
        level, name, batch, pixels = typing.cast(list[Token], header.children)
        graph = Graph(
            name=self._text(name),
            level=Level(str(level)),
            source=self.source,
            batch=int(self._number(batch)),
            pixels=self._text(pixels) if pixels is not None else "",
        )
        for item in items:
            getattr(self, f"_{item.data}")(graph, item.children)
        return graph

    def _input(self, graph: Graph, parts: list[Token]) -> None:
        graph.inputs.append(self._define(parts[0], parts[1]))

    def _constant(self, graph: Graph, parts: list[Token]) -> None:
        value = self._define(parts[0], parts[1])
        if value.name not in self.arrays:
            raise self._error(
                parts[0], f"the side file holds no constant {value}", "pass the .npz that was written with the text"
            )
        graph.constants[value] = self.arrays[value.name]

    def _output(self, graph: Graph, parts: list[Token]) -> None:
        graph.outputs.append(self._value(parts[0]))

    def _op(self, graph: Graph, parts: list[Any]) -> None:
        names, mnemonic, *rest = parts
        cls = REGISTRY.get((graph.level, str(mnemonic)))
        if cls is None:
            known = [m for level, m in REGISTRY if level is graph.level]
            near = difflib.get_close_matches(str(mnemonic), known, 1)
            raise self._error(
                mnemonic, f"no op '{mnemonic}' in {graph.level}", f"did you mean '{near[0]}'?" if near else ""
            )
        trees: dict[str, list[Any]] = {}
        for part in rest:
            if part is not None:
                trees.setdefault(part.data, []).append(part)
        arguments = self._arguments(cls, mnemonic, trees)
        [types] = trees["types"]
        if len(types.children) != len(names.children):
            raise self._error(mnemonic, f"{len(names.children)} results with {len(types.children)} types", "")
        results = tuple(map(self._define, names.children, types.children))
        nodes = tuple(self._text(t) for tree in trees.get("location", ()) for t in tree.children)
        graph.ops.append(cls(results=results, loc=Loc(self.source, nodes), **arguments))

    def _arguments(self, cls: type[Op], at: Token, trees: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Operands and attributes of an op, checked against its fields."""
        given: dict[str, Any] = {}
        kinds = {field.name: field for field in op_fields(cls)}
        attributes = [a for tree in trees.get("attributes", ()) for a in tree.children if a is not None]
        for name, content in (tree.children for tree in (*trees.get("operand", ()), *attributes)):
            key = str(name)
            if key not in kinds:
                raise self._error(at, f"{at} has no field {key}", self._fields(cls))
            if key in given:
                raise self._error(name, f"{at}.{key} is given twice", "")
            given[key] = self._operand(content) if _names_values(content) else self._literal(content)
            field = kinds[key]
            if field.kind == "attribute":
                given[key] = self._converted(given[key], field.annotation, name, f"{at}.{key}")
            elif not _fits(given[key], field.kind):
                raise self._error(at, f"{at}.{key}: expected {_OPERANDS[field.kind]}", "")
        missing = [f.name for f in fields(cls) if f.name in kinds and f.name not in given and f.default is MISSING]
        if missing:
            raise self._error(at, f"{at} needs {missing[0]}", self._fields(cls))
        return given

    def _fields(self, cls: type[Op]) -> str:
        return f"its fields are {', '.join(sorted(f.name for f in op_fields(cls)))}"

    def _operand(self, part: Token | Tree[Token]) -> Value | tuple[Value, ...]:
        if isinstance(part, Token):
            return self._value(part)
        return tuple(self._value(t) for t in part.children if isinstance(t, Token))

    def _literal(self, part: Token | Tree[Any]) -> Any:
        """A number, a string, a list as a tuple, a record as a dict."""
        if isinstance(part, Token):
            return self._text(part) if part.type == "STRING" else self._number(part)
        content = [child for child in part.children if child is not None]
        if part.data == "record":
            return {str(member.children[0]): self._literal(member.children[1]) for member in content}
        return tuple(self._literal(child) for child in content)

    def _number(self, token: Token) -> int | float | bool:
        if str(token) in ("true", "false"):
            return str(token) == "true"
        if len(token) > MOST_DIGITS:
            raise self._error(token, f"a number of {len(token)} digits", f"at most {MOST_DIGITS}")
        return int(str(token)) if re.fullmatch(r"-?\d+", token) else float(str(token))

    def _converted(self, given: Any, kind: Any, at: Token, what: str) -> Any:
        """A literal as the type that a field is declared as."""
        members = record_fields(kind)
        if members and isinstance(given, dict):
            unknown = next((name for name in given if name not in members), None)
            missing = next((m for m in members if m not in given and m not in _record_defaults(kind)), None)
            if unknown or missing:
                problem = f"has no member {unknown}" if unknown else f"needs {missing}"
                raise self._error(at, f"{what} {problem}", f"its members are {', '.join(members)}")
            return kind(**{k: self._converted(v, members[k], at, f"{what}.{k}") for k, v in given.items()})
        if not _is(given, kind):
            raise self._error(at, f"{what}: expected {_spelled(kind)}", "")
        return float32(given) if kind is float else given

    def _text(self, token: Token, quoted: str | None = None) -> str:
        """What a quoted string says."""
        try:
            return str(json.loads(str(token) if quoted is None else quoted))
        except json.JSONDecodeError as error:
            raise self._error(token, f"not a string: {token}", f"{error.msg}; escapes are those of JSON") from None

    def _name(self, token: Token) -> str:
        """The name of a value, without its %."""
        text = str(token)[1:]
        return self._text(token, text) if text.startswith('"') else text

    def _define(self, name: Token, type: Token) -> Value:
        value = Value(self._name(name), parse_type(str(type), Loc(self.source, detail=f"{type.line}:{type.column}")))
        self.values[value.name] = value
        return value

    def _value(self, token: Token) -> Value:
        name = self._name(token)
        if name not in self.values:
            near = difflib.get_close_matches(name, self.values, 1)
            raise self._error(token, f"{token} is not defined above", f"did you mean '%{near[0]}'?" if near else "")
        return self.values[name]

    def _error(self, token: Token, message: str, hint: str) -> SourceError:
        return SourceError("BadIrText", message, at=Loc(self.source, detail=f"{token.line}:{token.column}"), hint=hint)


def _names_values(part: Token | Tree[Any]) -> bool:
    """True for what stands in parentheses behind the name of an op; attributes hold literals."""
    return part.type == "VALUE" if isinstance(part, Token) else part.data == "list"


def _fits(given: object, kind: str) -> bool:
    """Whether what was read can be what an operand is declared as."""
    if kind == "many":
        return isinstance(given, tuple) and all(isinstance(v, Value) for v in given)
    return isinstance(given, Value)


def _is(given: object, kind: Any) -> bool:
    """Whether a literal has the type of an attribute."""
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        if not isinstance(given, tuple) or (items[-1] is not Ellipsis and len(items) != len(given)):
            return False
        return all(_is(item, items[0]) for item in given)
    if kind is float:
        return isinstance(given, float | int) and not isinstance(given, bool)
    return type(given) is kind


_OPERANDS = {"one": "a value", "optional": "a value", "many": "a list of values"}
_WORDS = {int: "whole number", float: "number", str: "string"}


def _spelled(kind: Any) -> str:
    """A type of an attribute in words: "a list of 2 whole numbers"."""
    if kind is bool:
        return "true or false"
    if record_fields(kind):
        return f"({', '.join(f'{name}=...' for name in record_fields(kind))})"
    if kind in _WORDS:
        return f"a {_WORDS[kind]}"
    items = typing.get_args(kind)
    count = "" if items[-1] is Ellipsis else f"{len(items)} "
    return f"a list of {count}{_WORDS[items[0]]}s"


_TYPE = re.compile(
    r"(?P<dtype>[a-z]+\d*)\[(?P<shape>(?:(?<=[\[,])-1|[\d,])*)\](?: q\((?P<quant>[^()]*)\))?(?: @(?P<place>\S+))?"
)
_PLACE = re.compile(
    r"(?P<space>sram|dram):(?P<kind>HCHCW|HCHWC)(?:\((?P<apart>Nx)?(?P<ho>\d{1,9})x(?P<co>\d{1,9})\))?"
    r"(?:\+0x(?P<offset>[0-9a-f]{1,16}))?"
)


def parse_type(text: str, at: Loc) -> TensorType:
    """The inverse of show_type."""
    match = _TYPE.fullmatch(text)
    dtype = next((d for d in DType if match and d.value == match["dtype"]), None)
    if match is None or dtype is None:
        raise SourceError("BadIrText", f"not a type: {text!r}", at=at, hint="i8[1,16,8,8] q(0.5,-3)")
    if any(len(extent) > MOST_DIGITS for extent in match["shape"].split(",")):
        raise SourceError("BadIrText", f"not a shape: [{match['shape'][:40]}...]", at=at, hint="i8[1,16,8,8]")
    shape = tuple(int(d) for d in match["shape"].split(",") if d)
    quant = _parse_quant(match["quant"], at) if match["quant"] else None
    return TensorType(shape, dtype, quant, _parse_place(match["place"], at) if match["place"] else None)


def _parse_quant(text: str, at: Loc) -> Quant:
    try:
        if not text.startswith("["):
            scale, zero = text.split(",")
            return Quant((_scale(scale),), (int(zero),))
        match = re.fullmatch(r"\[([^\]]*)\],(\[[^\]]*\]|-?\d+),axis=(\d+)", text)
        assert match is not None
        scales = tuple(map(_scale, match[1].split(",")))
        zeros = json.loads(match[2])
        assert all(type(zero) is int for zero in (zeros if isinstance(zeros, list) else [zeros]))
        return Quant(scales, tuple(zeros) if isinstance(zeros, list) else (zeros,) * len(scales), int(match[3]))
    except (ValueError, AssertionError, TypeError, RecursionError):
        raise SourceError("BadIrText", f"not a quantization: q({text})", at=at, hint="q(scale,zero)") from None


def _scale(text: str) -> float:
    with np.errstate(over="ignore"):  # what is infinite in float32 is refused by the verifier
        return float(np.float32(text))


def _parse_place(text: str, at: Loc) -> Place:
    striped = re.fullmatch(r"stripes:(?:\+0x([0-9a-f]{1,16}))?", text)
    if striped is not None:
        return Striped(int(striped[1], 16) if striped[1] else None)
    match = _PLACE.fullmatch(text)
    if match is None or (match["space"] == "sram") != (match["ho"] is not None):
        raise SourceError("BadIrText", f"not a place: @{text}", at=at, hint="@sram:HCHCW(64x1) or @dram:HCHCW")
    offset = int(match["offset"], 16) if match["offset"] else None
    kind = LayoutKind[match["kind"]]
    if match["space"] == "dram":
        return InDram(kind, offset)
    return InSram(Layout(kind, int(match["ho"]), int(match["co"]), bool(match["apart"])), offset)
