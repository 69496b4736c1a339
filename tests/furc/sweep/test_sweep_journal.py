"""Results survive whatever happens to the process, and nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from furc.output import JOURNAL_HEADER
from furc.sweep.journal import Journal
from furc.sweep.measure import FIGURES, Result, failed, is_result
from isa.errors import FurcError

FOUND: Result = {"status": "ok", **{name: kind(3) for name, kind in FIGURES.items()}}
PATH = Path("journal.jsonl")


def test_what_is_added_is_there_next_time() -> None:
    with Journal(PATH) as journal:
        journal.add("a", FOUND)
        journal.add("b", failed("ProgramTooLong", "by \x1b 3"))
    with Journal(PATH) as journal:
        assert journal.results == {"a": FOUND, "b": {"status": "ProgramTooLong", "message": "by \\x1b 3"}}


@pytest.mark.parametrize("cut", [1, 5, 300])
def test_a_line_without_an_end_is_dropped(cut: int) -> None:
    with Journal(PATH) as journal:
        journal.add("a", FOUND)
        journal.add("b", FOUND)
    PATH.write_bytes(PATH.read_bytes()[:-cut])
    for _ in range(2):
        with Journal(PATH) as journal:
            assert list(journal.results) == ["a"]
            journal.add("c", FOUND)
            assert list(journal.results) == ["a", "c"]
        PATH.write_bytes(PATH.read_bytes()[:-cut])


def test_lines_that_say_something_else_are_no_results() -> None:
    results = [3, {}, {"status": "ok"}, {**FOUND, "cycles": "3"}, {**FOUND, "macs": 1.5}, {**FOUND, "macs": True},
               {**FOUND, "more": 1}, {"status": "E"}, {"status": "E", "message": 3}]  # fmt: skip
    lines = ["", "{", "[" * 100000, "\0\0\0", "3", *(json.dumps({"key": "x", "result": one}) for one in results)]
    PATH.write_text(JOURNAL_HEADER + "\n".join([*lines, json.dumps({"key": "good", "result": FOUND}), ""]))
    with Journal(PATH) as journal:
        assert list(journal.results) == ["good"]
    assert not any(map(is_result, results)) and is_result(FOUND)


def test_one_sweep_at_a_time() -> None:
    with Journal(PATH), pytest.raises(FurcError, match="SweepRunning") as caught:
        Journal(PATH)
    assert caught.value.hint
    with Journal(PATH):
        pass


def test_somebody_elses_file_stays() -> None:
    for content in (b"my notes\n", b'{"furc": 1}\n', b"\x00\xff" * 100):
        PATH.write_bytes(content)
        with pytest.raises(FurcError, match="WouldOverwrite"):
            Journal(PATH)
        assert PATH.read_bytes() == content
    with Journal(PATH, force=True) as journal:
        journal.add("a", FOUND)
    with Journal(PATH, force=True) as journal:
        assert list(journal.results) == ["a"]  # a journal is never thrown away


def test_no_folder() -> None:
    with pytest.raises(FurcError, match="OutputUnwritable"):
        Journal(Path("missing/journal.jsonl"))
