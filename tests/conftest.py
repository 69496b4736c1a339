"""Property tests draw the same examples at every run: a failure is the change's, and repeats.

Look for new ones with pytest --hypothesis-profile=search.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("repeatable")
