"""Words of messages."""

from __future__ import annotations

from isa.errors import counted


def test_one_is_not_told_as_many() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [counted(n, "axis", "axes") for n in (1, 3)] == ["1 axis", "3 axes"]
    assert counted(1, "more operator") == "1 more operator"
