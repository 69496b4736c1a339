"""Models of a sweep by content: what is timed is what was read when the sweep began, wherever a worker runs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from furc.ir_files import is_ir, side_file
from furc.onnx.files import data_files, read_bytes
from furc.profiling.profile import is_enf
from isa.errors import Loc, SourceError, printable

MORE_ROOM = "set TMPDIR to a folder with room for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model and the files that its data lies in. label: how tables call it. name: of the file to be read.

    files: content by name, relative to the model's folder. digest: of all of that but the label.
    """

    label: str
    name: str
    files: tuple[tuple[str, bytes], ...]
    digest: str

    def write(self, folder: Path) -> Path:
        """Into a folder of its own in `folder`, unless it is there; returns the file to be read.

        Raises SourceError NoRoomForModel.
        """
        home = folder / self.digest
        if not home.exists():
            unfinished = folder / f"{self.digest}.{os.urandom(4).hex()}"
            try:
                self._write(unfinished)
                unfinished.rename(home)
            except OSError as error:
                if not home.exists():  # unless another thread was faster
                    what = f"it cannot be copied to {folder}: {error.strerror or error}"
                    raise SourceError("NoRoomForModel", what, at=Loc(self.name), hint=MORE_ROOM) from error
        return home / self.name

    def _write(self, home: Path) -> None:
        for name, content in self.files:
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@contextmanager
def folder_for_models() -> Iterator[Path]:
    """A folder that is there as long as the sweep. Raises SourceError NoRoomForModel."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="furc-sweep-")
    except OSError as error:
        what = f"no folder for copies of the models can be made: {error.strerror or error}"
        raise SourceError("NoRoomForModel", what, hint=MORE_ROOM) from error
    with folder as name:
        yield Path(name)


def read_models(paths: Sequence[Path]) -> list[ModelFiles]:
    """Raises SourceError ModelNotFound, ModelUnreadable, AlreadyCompiled."""
    paths = list(dict.fromkeys(paths))
    stems = [path.stem for path in paths]
    labels = [path.stem if stems.count(path.stem) == 1 else str(path) for path in paths]
    return [_read(path, label) for path, label in zip(paths, labels, strict=True)]


def _read(path: Path, label: str) -> ModelFiles:
    if is_enf(path):
        what = "this is a binary: each point of a sweep compiles the model for itself"
        raise SourceError("AlreadyCompiled", what, at=Loc(str(path)), hint="pass the quantized model")
    files = ((path.name, read_bytes(path)), *_beside(path))
    digest = hashlib.sha256(str(len(files)).encode())
    for name, content in files:
        for part in (name.encode(errors="surrogateescape"), content):
            digest.update(hashlib.sha256(part).digest())
    return ModelFiles(label=printable(label), name=path.name, files=files, digest=digest.hexdigest())


def _beside(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files that are there: who reads the model says what it misses."""
    try:
        found = [side_file(path)] if is_ir(path) else data_files(path)
    except (OSError, ValueError):
        return
    for file in found:
        if file.is_file():
            yield str(file.relative_to(path.parent)), read_bytes(file)
