"""Damage that a file may have suffered, or that somebody did on purpose; all of it follows from a random.Random."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

INTEGERS = (
    0, 1, -1, 2, 3, 7, 8, 16, 31, 64, 127, 128, 255, 256, 1000, 65535, 1 << 20, 1 << 31, 1 << 40, 1 << 62, -(1 << 62),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-38, 1e38, 1e-45, float("nan"), float("inf"), float("-inf"), 0.5, 1e10)
WORDS = (
    "", "0", "-1", "1", "99999999999999999999999999", "1e999", "nan", "x", "%", "{", "}", "[", "]", "(", ")", '"',
    "\\x", "\\", "\n", "\0", "\u00e9", "\u202e", "[" * 5000, "9" * 5000, "a" * 5000, "true", "null", "&a [*a,*a]",
    "../x", "HCHCW(0x8)", "1x" * 40,
)  # fmt: skip


def mutated_bytes(data: bytes, rng: Random) -> bytes:
    """A few flips, cuts, repeats and overwritten integers."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not content:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
        at = rng.randrange(len(content))
        match rng.randrange(7):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at] = rng.randrange(256)
            case 2:
                del content[at : at + rng.choice((1, 4, 64, len(content)))]
            case 3:
                content[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 16))))
            case 4:
                content[at:at] = content[at : at + rng.choice((4, 64, 1024))]
            case 5:
                size = rng.choice((1, 2, 4, 8))
                content[at : at + size] = (rng.choice(INTEGERS) % (1 << (8 * size))).to_bytes(size, "little")
            case _:
                other = rng.randrange(len(content))
                content[at : at + 8] = content[other : other + 8]
    return bytes(content)


def mutated_text(text: str, rng: Random) -> str:
    """Words dropped, repeated, exchanged, replaced; lines moved; the end cut off."""
    words = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not words:
            return rng.choice(WORDS)
        at, other = rng.randrange(len(words)), rng.randrange(len(words))
        match rng.randrange(8):
            case 0:
                del words[at]
            case 1:
                words.insert(at, words[other])
            case 2:
                words[at], words[other] = words[other], words[at]
            case 3:
                words[at] = rng.choice(WORDS)
            case 4:
                numbers = [i for i, word in enumerate(words) if word.isdigit()]
                if numbers:
                    words[rng.choice(numbers)] = str(rng.choice(INTEGERS))
            case 5:
                words = words[:at]
            case 6:
                lines = "".join(words).splitlines(keepends=True)
                line = rng.randrange(len(lines))
                moved = lines.pop(line) if rng.random() < 0.7 else lines[line]
                lines.insert(rng.randrange(len(lines) + 1), moved if rng.random() < 0.5 else "")
                words = re.findall(r"\w+|\s+|[^\w\s]", "".join(lines))
            case _:
                alike = [word for word in words if word.isidentifier()]
                if alike:
                    words[at] = rng.choice(alike)
    return "".join(words)


def mutate_proto(message: Message, rng: Random) -> None:
    """Change a few fields anywhere inside: values, lengths of lists, whole messages."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(message, 0))
        if places:
            owner, field = rng.choice(places)
            _mutate_field(owner, field, rng, message)


def _places(message: Message, depth: int) -> Iterator[tuple[Message, FieldDescriptor]]:
    for field, value in message.ListFields():
        yield message, field
        if field.type == FieldDescriptor.TYPE_MESSAGE and depth < 12:
            for inner in value if _is_list(field) else (value,):
                yield from _places(inner, depth + 1)


def _is_list(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _mutate_field(owner: Message, field: FieldDescriptor, rng: Random, root: Message) -> None:
    name = field.name
    if not _is_list(field):
        if rng.random() < 0.15:
            owner.ClearField(name)
        elif field.type != FieldDescriptor.TYPE_MESSAGE:
            _try(lambda: setattr(owner, name, _value(field, getattr(owner, name), rng, root)))
        return
    items: Any = getattr(owner, name)
    at = rng.randrange(len(items))
    match rng.randrange(4):
        case 0:
            del items[at]
        case 1:
            items.append(items[at]) if field.type != FieldDescriptor.TYPE_MESSAGE else items.add().CopyFrom(items[at])
        case 2:
            if rng.random() < 0.3:
                del items[:]
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                items[at].CopyFrom(items[rng.randrange(len(items))])
            else:
                items[at] = items[rng.randrange(len(items))]
        case _:
            if field.type != FieldDescriptor.TYPE_MESSAGE:
                _try(lambda: items.__setitem__(at, _value(field, items[at], rng, root)))


def _try(change: Callable[[], object]) -> None:
    """Values that the field's type does not take change nothing."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        change()


def _value(field: FieldDescriptor, old: Any, rng: Random, root: Message) -> Any:
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return mutated_bytes(old, rng)
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice((rng.choice(WORDS), mutated_text(old, rng), _some_string(root, rng)))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice([*field.enum_type.values_by_number, 99])
    return rng.choice((rng.choice(INTEGERS), old + 1, old - 1, old * 2))


def _some_string(root: Message, rng: Random) -> str:
    found = [(owner, field) for owner, field in _places(root, 0) if field.type == FieldDescriptor.TYPE_STRING]
    owner, field = rng.choice(found)
    value = getattr(owner, field.name)
    return str(rng.choice(list(value)) if _is_list(field) else value)


METADATA, MODELS = 0, 1  # sections of an ENF


class Sealed:
    """An ENF taken apart by what docs/enf.md says of its bytes, and put together with good checksums."""

    PREFIX, ENTRY, ALIGNMENT = struct.Struct("<8sIIQQII"), struct.Struct("<IIQQ"), 64

    def __init__(self, data: bytes) -> None:
        *self._head, count, _ = self.PREFIX.unpack_from(data)
        entries = [self.ENTRY.unpack_from(data, self.PREFIX.size + i * self.ENTRY.size) for i in range(count)]
        self.sections = [data[offset : offset + length] for _, _, offset, length in entries]

    def write(self) -> bytes:
        magic, version, header_bytes, _, dialect = self._head
        entries, body, offset = [], [], header_bytes
        for number, content in enumerate(self.sections):
            padding = -offset % self.ALIGNMENT
            offset += padding
            entries.append(self.ENTRY.pack(number, zlib.crc32(content), offset, len(content)))
            body += [bytes(padding), content]
            offset += len(content)
        header = bytearray(
            self.PREFIX.pack(magic, version, header_bytes, offset, dialect, len(self.sections), 0) + b"".join(entries)
        )
        struct.pack_into("<I", header, self.PREFIX.size - 4, zlib.crc32(header))
        return b"".join([header, *body])


def mutated_enf(data: bytes, rng: Random) -> bytes:
    """Damaged and sealed again; now and then only damaged."""
    if rng.random() < 0.1:
        return mutated_bytes(data, rng)
    enf = Sealed(data)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(enf.sections))
        section = enf.sections[at]
        if section[:1] == b"{" and rng.random() < 0.9:
            enf.sections[at] = _mutated_json(section, rng)
        elif at == MODELS and rng.random() < 0.9:
            _mutate_a_model(enf, rng)
        else:
            enf.sections[at] = _same_length(section, rng)
    return enf.write()


def _same_length(data: bytes, rng: Random) -> bytes:
    """Bits, bytes and words changed where they are: most of a program stays a program."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4)) if content else 0):
        at = rng.randrange(len(content))
        if rng.random() < 0.5:
            content[at] ^= 1 << rng.randrange(8)
        else:
            other = rng.randrange(len(content)) & ~3
            at &= ~3
            content[at : at + 4] = content[other : other + 4]
    return bytes(content[: len(data)])


def _mutate_a_model(enf: Sealed, rng: Random) -> None:
    """That of one host step; the metadata says how long each is."""
    try:
        facts = json.loads(enf.sections[METADATA])
        steps = [step for step in facts["steps"] if "model" in step]
        chosen = rng.choice(steps)
        start = sum(step["model"] for step in steps[: steps.index(chosen)])
        end = start + chosen["model"]
    except (ValueError, LookupError, TypeError):  # damaged before
        return
    data = enf.sections[MODELS]
    model = _mutated_model(data[start:end], rng)
    enf.sections[MODELS] = data[:start] + model + data[end:]
    chosen["model"] = len(model)
    enf.sections[METADATA] = _canonical(facts)


def _canonical(facts: Any) -> bytes:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _mutated_model(data: bytes, rng: Random) -> bytes:
    import onnx

    try:
        model = onnx.ModelProto.FromString(data)
    except Exception:
        return _same_length(data, rng)
    mutate_proto(model, rng)
    return bytes(model.SerializeToString())


def _mutated_json(text: bytes, rng: Random) -> bytes:
    """One value somewhere inside; canonical, as the reader wants it."""
    try:
        value = json.loads(text)
    except ValueError:  # damaged before
        return _same_length(text, rng)
    places = list(_json_places(value))
    for _ in range(rng.choice((1, 1, 2))):
        owner, key = rng.choice(places)
        try:
            old = owner[key]
        except (KeyError, IndexError):
            continue
        match rng.randrange(5):
            case 0 if isinstance(old, int):
                owner[key] = rng.choice((rng.choice(INTEGERS), old + 1, old - 1, old * 2))
            case 1 if isinstance(old, str):
                owner[key] = rng.choice(WORDS)
            case 2 if isinstance(owner, list):
                del owner[key]
            case 3 if isinstance(owner, list):
                owner.insert(key, copy.deepcopy(old))
            case _:
                other, name = rng.choice(places)
                with contextlib.suppress(LookupError):  # removed before
                    owner[key] = copy.deepcopy(other[name])  # a value inside itself has no text
    return _canonical(value)


def _json_places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _json_places(inner)
