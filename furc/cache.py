"""The compiler cache: binaries by everything they depend on, in the user's cache directory.

An entry is one file: the checksum of its key and the rest, a line of JSON that its maker keeps beside the binary, the
ENF. What does not check is no entry, nor is one under another's name. A furc whose source differs, by a byte, never
sees the entries of another.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import isa
from furc.version import __version__
from isa import enf as enf_file
from isa import unfinished
from isa.enf import Enf
from isa.errors import EnfError, FurcError, Loc

SUFFIX = ".cached"
MOST_BYTES = 4 << 30  # the entries used longest ago go first
_DIGEST_BYTES = 64  # hex digits of sha256
_SOURCES = ("*.py", "*.lark", "*.toml")
# Their values are in binaries, as folded constants and tables; networkx finds what of a model is on the host.
COMPUTING = ("networkx", "numpy", "onnx", "onnxruntime", "tflite")
_FLOORS = ("isa", "passes", "furc")
_IMPORTED = isa.LOADED  # not when the cache was first asked for: most of furc is older then


class ChangedError(FurcError):
    """The code that runs is no longer that of its files."""


class Entry(NamedTuple):
    """A file of the cache. used: seconds since the epoch."""

    path: Path
    bytes: int
    used: float


@dataclass(frozen=True, slots=True)
class CompilerCache:
    """A directory of entries. It may be missing, full or read-only: then nothing is found and nothing kept."""

    directory: Path

    def get(self, key: str) -> tuple[Enf, str] | None:
        """The binary of a key and what was kept beside it. A damaged entry is removed."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            digest, rest = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
            beside, line_break, binary = rest.partition(b"\n")
            if digest != _checksum(key, rest) or not line_break:
                raise ValueError("not what was written")
            found = enf_file.read(binary), beside.decode()
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EnfError):
            unfinished.remove(path)
            return None
        return found

    def put(self, key: str, enf: Enf, beside: str) -> bool:
        """Keep a binary; beside: one line. False where the directory does not take it."""
        assert "\n" not in beside
        rest = beside.encode() + b"\n" + enf_file.write(enf)
        path = self._path(key)
        temporary = unfinished.beside(path)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(_checksum(key, rest) + rest)
            temporary.replace(path)  # at once: a reader sees the old entry or the new one
        except OSError:
            return False
        finally:
            unfinished.remove(temporary)
        self._shrink()
        return True

    def entries(self) -> list[Entry]:
        """The last used first."""
        return sorted(self._files(), key=lambda entry: -entry.used)

    def clear(self) -> int:
        """Remove every entry; how many there were."""
        self._tidy()
        return sum(unfinished.remove(entry.path) for entry in self.entries())

    def _files(self) -> Iterator[Entry]:
        try:
            names = sorted(name for name in os.listdir(self.directory) if name.endswith(SUFFIX))
        except OSError:
            return
        for name in names:
            path = self.directory / name
            try:
                status = path.stat()
            except OSError:
                continue  # another furc has just removed it
            yield Entry(path, status.st_size, status.st_mtime)

    def _tidy(self) -> None:
        """Remove what writers left that were killed."""
        for path in filter(unfinished.is_abandoned, unfinished.left_in(self.directory)):
            unfinished.remove(path)

    def _shrink(self) -> None:
        """Remove what is too much."""
        self._tidy()
        total = 0
        for entry in self.entries():
            total += entry.bytes
            if total > MOST_BYTES:
                unfinished.remove(entry.path)

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}{SUFFIX}"


def _checksum(key: str, rest: bytes) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(rest)
    return digest.hexdigest().encode()


def default_cache() -> CompilerCache:
    """Under XDG_CACHE_HOME, the one place where a user says where caches go, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        root = Path(os.devnull)
    return CompilerCache(root / "furc")


def key_of(parts: Iterable[bytes]) -> str:
    """The key of what a binary is made from. Parts are told apart; furc itself is one of them. Raises ChangedError
    FurcChanged."""
    digest = hashlib.sha256(this_furc().encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def this_furc() -> str:
    """What results depend on, whatever is asked: furc's sources, and the versions of what it computes with. Raises
    ChangedError FurcChanged."""
    others = " ".join(f"{name} {version(name)}" for name in COMPUTING)
    return f"{__version__} {own_sources()} {sys.byteorder} {others}"


@cache
def own_sources() -> str:
    """A hash of every source file of furc. Raises ChangedError FurcChanged where one is younger than the code that
    runs, as when furc is upgraded beside a notebook: the new code would take what the old one makes for its own."""
    root, digest, now = Path(__file__).resolve().parent.parent, hashlib.sha256(), time.time()
    for floor in _FLOORS:
        for path in sorted(p for pattern in _SOURCES for p in (root / floor).rglob(pattern)):
            if _IMPORTED < path.stat().st_ctime <= now:  # where clocks are wrong, files of tomorrow are no younger
                what = "furc has changed since this process began"
                raise ChangedError("FurcChanged", what, at=Loc(str(path)), hint="begin again with another process")
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
