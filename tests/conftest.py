"""Property tests draw the same examples at every run: a failure is the change's, and repeats.

Look for new ones with pytest --hypothesis-profile=search.
"""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """furc forks for what may abort, and a fork takes time in proportion to what the process holds."""
    items.sort(key=lambda item: item.get_closest_marker("fills_memory") is not None)


def pytest_collection_finish() -> None:
    """What is loaded now lives until the end: Python need not look for cycles in it again and again."""
    gc.collect()
    gc.freeze()
