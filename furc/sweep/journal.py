"""Results as they come, kept for the next time: a line each, on the disk before the next one is asked for.

A process that is killed leaves at worst one line that has no end, which is dropped.
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from furc.output import JOURNAL, JOURNAL_HEADER, OutputError, Outputs
from furc.sweep.measure import Result, is_result
from isa.errors import FurcError, Loc


class Journal(AbstractContextManager["Journal"]):
    """results: by key, of all sweeps into this folder. Only one process at a time has it.

    force: begin anew where there is a file of this name that is no journal. Raises OutputError, FurcError SweepRunning.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path, self.results = path, dict[str, Result]()
        outputs = Outputs(force=force)
        outputs.check(path, JOURNAL)
        self._lock = _locked(path.parent)
        try:
            if not path.exists() or not JOURNAL.recognizes(path):
                outputs.add(path, JOURNAL_HEADER, JOURNAL)
                outputs.write()
            self._file = open(path, "r+b")  # noqa: SIM115  # closed when this is left
            self._read()
        except OSError as error:
            os.close(self._lock)
            raise _unwritable(path, error) from error
        except FurcError:
            os.close(self._lock)
            raise

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of what could not be written `add` has told
            self._file.close()
        os.close(self._lock)

    def add(self, key: str, result: Result) -> None:
        """Keep a result; it survives whatever happens next. Raises OutputError where the disk is full."""
        line = json.dumps({"key": key, "result": result}) + "\n"
        try:
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.results[key] = result

    def _read(self) -> None:
        whole = self._file.read()
        ends = whole.rfind(b"\n") + 1
        for line in whole[:ends].splitlines():
            found = _entry(line)
            if found is not None:
                self.results[found[0]] = found[1]
        self._file.seek(ends)
        self._file.truncate()


def _entry(line: bytes) -> tuple[str, Result] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str) or not is_result(entry.get("result")):
        return None
    return entry["key"], entry["result"]


def _locked(folder: Path) -> int:
    """The folder, opened and locked: the lock goes with the process, however it ends."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        import fcntl  # here: not every system has it

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        what = "another sweep writes into this folder"
        raise FurcError("SweepRunning", what, at=Loc(str(folder)), hint="wait for it, or give another folder") from None
    except (ImportError, OSError):
        pass  # a system or a file system without such locks
    return descriptor


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError("OutputUnwritable", error.strerror or str(error), at=Loc(str(path)), hint="give another folder")
