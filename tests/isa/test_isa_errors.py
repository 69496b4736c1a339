"""Errors, and words of messages."""

from __future__ import annotations

import pickle

import pytest

from isa.errors import FurcError, Loc, SourceError, counted


def test_one_is_not_told_as_many() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [counted(n, "axis", "axes") for n in (1, 3)] == ["1 axis", "3 axes"]
    assert counted(1, "more operator") == "1 more operator"


@pytest.mark.parametrize("kind", [FurcError, SourceError])
def test_an_error_travels_between_processes(kind: type[FurcError]) -> None:
    """One that could not be made anew left multiprocessing.Pool waiting without end."""
    error = kind("Name", "what is wrong", at=Loc("m.onnx", ("node",), "here"), hint="what to do", also=("there",))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)
    assert (again.name, again.message, again.at, again.hint, again.also) == (
        error.name, error.message, error.at, error.hint, error.also,
    )  # fmt: skip


def test_a_place_of_many_nodes_names_some_and_counts_the_rest() -> None:
    assert str(Loc("m.onnx", ("a", "b"))) == "m.onnx: node 'a', 'b'"
    assert str(Loc(nodes=tuple("abcdef"))) == "node 'a', 'b', 'c', 'd', 'e', 'f'"
    assert str(Loc(nodes=tuple("abcdefgh"))) == "node 'a', 'b', 'c', 'd', 'e', 'f', 2 more"
