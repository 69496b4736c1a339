"""Frozen records as canonical JSON and back, checked against their type annotations field by field.

Canonical: keys sorted, no blanks, UTF-8; only the canonical text of a record is accepted, so equal records have
equal bytes and the other way round. Knows no record by name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")
External = Mapping[str, object]  # fields kept outside the JSON, by path, as in "head.model"
MAX_INTEGER = 2**63 - 1


class MetadataError(ValueError):
    """JSON that is not the record that was asked for; the message starts with the path of the value."""


def to_json(record: object, external: frozenset[str]) -> bytes:
    """The canonical text of a record, without the fields at the external paths."""
    return _canonical(_plain(record, "", external))


def from_json(kind: type[_T], text: bytes, external: External) -> _T:
    """The record of a canonical text, external fields put back. Raises MetadataError."""
    try:
        plain = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
        canonical = _canonical(plain)
    except RecursionError as error:
        raise MetadataError("nested too deeply") from error
    except ValueError as error:  # also UnicodeError and JSONDecodeError
        raise MetadataError(f"not JSON: {error}") from error
    record: _T = _typed(kind, plain, "", external)
    if canonical != text:
        raise MetadataError("not the canonical text of its content")
    return record


def _canonical(plain: object) -> bytes:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _plain(value: object, path: str, external: frozenset[str]) -> object:
    if is_dataclass(value):
        inner = ((f.name, f"{path}.{f.name}" if path else f.name) for f in fields(value))
        return {name: _plain(getattr(value, name), at, external) for name, at in inner if at not in external}
    if isinstance(value, tuple):
        return [_plain(item, path, external) for item in value]
    return int(value) if isinstance(value, IntEnum) else value


def _typed(kind: Any, plain: object, path: str, external: External) -> Any:
    """A value of `kind` (a type of our own records) from what json.loads gave; the dynamic core of this file."""
    if is_dataclass(kind):
        return _record(kind, plain, path, external)
    if isinstance(kind, type) and issubclass(kind, tuple):
        names = list(_hints(kind))
        items = _list(plain, path)
        if len(items) != len(names):
            raise MetadataError(f"{path}: expected {len(names)} numbers, got {len(items)}")
        return kind(
            *(_typed(_hints(kind)[n], item, f"{path}.{n}", external) for n, item in zip(names, items, strict=True))
        )
    if get_origin(kind) is tuple:
        (item_kind, _) = get_args(kind)
        return tuple(_typed(item_kind, item, f"{path}[{i}]", external) for i, item in enumerate(_list(plain, path)))
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        if isinstance(plain, bool) or not isinstance(plain, int) or plain not in [int(member) for member in kind]:
            raise MetadataError(f"{path}: {_short(plain)} is not one of {', '.join(str(int(m)) for m in kind)}")
        return kind(plain)
    return _leaf(kind, plain, path)


def _record(kind: Any, plain: object, path: str, external: External) -> Any:
    if not isinstance(plain, dict):
        raise MetadataError(f"{path or 'top'}: expected an object, got {_short(plain)}")
    paths = {name: f"{path}.{name}" if path else name for name in _hints(kind)}
    wanted = {name for name, at in paths.items() if at not in external}
    for name in plain:
        if name not in wanted:
            near = difflib.get_close_matches(name, wanted, 1)
            raise MetadataError(f"{path or 'top'}: unknown key {name!r}" + (f", near '{near[0]}'" if near else ""))
    missing = sorted(wanted - plain.keys())
    if missing:
        raise MetadataError(f"{path or 'top'}: no {', '.join(missing)}")
    return kind(
        **{
            name: external[at] if at in external else _typed(_hints(kind)[name], plain[name], at, external)
            for name, at in paths.items()
        }
    )


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
