"""Frozen records as canonical JSON and back, checked against their type annotations field by field.

Canonical: keys sorted, no blanks, UTF-8; only the canonical text of a record is accepted, so equal records have
equal bytes and the other way round. Knows no record by name. A record that stands for one of several says which by
the key "kind". Of a field that lies outside the JSON, its length stands in it. A field with a default is left out where
it holds that, so that a record may get one and texts of before stay what they are.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import IntEnum
from functools import cache
from types import UnionType
from typing import Any, NoReturn, Protocol, TypeVar, get_args, get_origin, get_type_hints

from isa.errors import counted

_T = TypeVar("_T")
KIND = "kind"
MAX_INTEGER = 2**63 - 1


class Content(Protocol):
    """Where the values of fields outside the JSON come from, front to back. Raises MetadataError at its end."""

    def take_bytes(self, count: int) -> bytes: ...

    def take_integers(self, count: int) -> tuple[int, ...]: ...


Outside = Mapping[str, Content]  # by path without indices, as in "steps.model"


class MetadataError(ValueError):
    """JSON that is not the record that was asked for; the message starts with the path of the value."""


def to_json(record: object, outside: frozenset[str]) -> tuple[bytes, dict[str, list[Any]]]:
    """The canonical text of a record, and the values of the fields that lie outside it, by path."""
    found: dict[str, list[Any]] = {path: [] for path in outside}
    return _canonical(_plain(record, type(record), "", found)), found


def from_json(kind: type[_T], text: bytes, outside: Outside) -> _T:
    """The record of a canonical text, fields that lie outside put back. Raises MetadataError."""
    try:
        plain = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
        canonical = _canonical(plain)
    except RecursionError as error:
        raise MetadataError("nested too deeply") from error
    except ValueError as error:  # also UnicodeError and JSONDecodeError
        raise MetadataError(f"not JSON: {error}") from error
    record: _T = _typed(kind, plain, "", outside)
    if canonical != text:
        raise MetadataError("not the canonical text of its content")
    return record


def _canonical(plain: object) -> bytes:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _plain(value: object, kind: Any, path: str, found: dict[str, list[Any]]) -> object:
    """What json.dumps takes. path: without indices."""
    if path in found:
        found[path].append(value)
        return len(value)  # type: ignore[arg-type]
    if is_dataclass(value) and not isinstance(value, type):
        said: dict[str, object] = {KIND: type(value).__name__} if get_origin(kind) is UnionType else {}
        hints = _hints(type(value))
        return said | {
            f.name: _plain(getattr(value, f.name), hints[f.name], _join(path, f.name), found)
            for f in fields(value)
            if getattr(value, f.name) != f.default
        }
    if isinstance(value, tuple):
        item_kind = get_args(kind)[0] if get_origin(kind) is tuple else int
        return [_plain(item, item_kind, path, found) for item in value]
    return int(value) if isinstance(value, IntEnum) else value


def _typed(kind: Any, plain: object, path: str, outside: Outside) -> Any:
    """A value of `kind` (a type of our own records) from what json.loads gave; the dynamic core of this file."""
    if get_origin(kind) is UnionType:
        return _one_of(get_args(kind), plain, path, outside)
    if is_dataclass(kind):
        return _record(kind, plain, path, outside)
    if isinstance(kind, type) and issubclass(kind, tuple):
        names = list(_hints(kind))
        items = _list(plain, path)
        if len(items) != len(names):
            raise MetadataError(f"{path}: expected {counted(len(names), 'number')}, got {len(items)}")
        return kind(
            *(_typed(_hints(kind)[n], item, f"{path}.{n}", outside) for n, item in zip(names, items, strict=True))
        )
    if get_origin(kind) is tuple:
        (item_kind, _) = get_args(kind)
        return tuple(_typed(item_kind, item, f"{path}[{i}]", outside) for i, item in enumerate(_list(plain, path)))
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        if isinstance(plain, bool) or not isinstance(plain, int) or plain not in [int(member) for member in kind]:
            raise MetadataError(f"{path}: {_short(plain)} is not one of {', '.join(str(int(m)) for m in kind)}")
        return kind(plain)
    return _leaf(kind, plain, path)


def _content(kind: Any, length: Any, path: str, content: Content) -> object:
    try:
        return content.take_bytes(length) if kind is bytes else content.take_integers(length)
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from error


def _one_of(kinds: tuple[Any, ...], plain: object, path: str, outside: Outside) -> Any:
    names = {kind.__name__: kind for kind in kinds}
    if not isinstance(plain, dict) or plain.get(KIND) not in [*names]:
        got = _short(plain.get(KIND)) if isinstance(plain, dict) else _short(plain)
        raise MetadataError(f"{path}: {KIND} {got} is not one of {', '.join(names)}")
    rest = {key: value for key, value in plain.items() if key != KIND}
    return _record(names[plain[KIND]], rest, path, outside)


def _record(kind: Any, plain: object, path: str, outside: Outside) -> Any:
    if not isinstance(plain, dict):
        raise MetadataError(f"{path or 'top'}: expected an object, got {_short(plain)}")
    hints = _hints(kind)
    for name in plain:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1)
            raise MetadataError(f"{path or 'top'}: unknown key {name!r}" + (f", near '{near[0]}'" if near else ""))
    defaults = _defaults(kind)
    missing = sorted(hints.keys() - plain.keys() - defaults.keys())
    if missing:
        raise MetadataError(f"{path or 'top'}: no {', '.join(missing)}")
    values: dict[str, Any] = {}
    bare = re.sub(r"\[\d+\]", "", path)
    for name, hint in hints.items():
        if name in defaults and name not in plain:
            continue
        at, content = _join(path, name), outside.get(_join(bare, name))
        values[name] = _typed(hint, plain[name], at, outside) if content is None else _content(
            hint, _leaf(int, plain[name], at), at, content
        )  # fmt: skip
        if name in defaults and values[name] == defaults[name]:
            raise MetadataError(f"{at}: {_short(plain[name])} is left out")
    return kind(**values)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _leaf(kind: Any, plain: object, path: str) -> object:
    assert kind in (int, str, float, bool), f"{path}: no JSON form for {kind}"
    if type(plain) is not kind:
        raise MetadataError(f"{path}: expected {kind.__name__}, got {_short(plain)}")
    if isinstance(plain, int) and not -MAX_INTEGER <= plain <= MAX_INTEGER:
        raise MetadataError(f"{path}: expected at most 64 bits, got {_short(plain)}")
    return plain


def _list(plain: object, path: str) -> list[object]:
    if not isinstance(plain, list):
        raise MetadataError(f"{path}: expected a list, got {_short(plain)}")
    return plain


def _short(value: object) -> str:
    """A hostile value, fit for a message; an integer too large to print is named instead."""
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "an integer beyond 64 bits"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _defaults(kind: type) -> dict[str, object]:
    """Of the fields that may be left out."""
    return {f.name: f.default for f in fields(kind) if f.default is not MISSING}
