"""When Python looks for cycles among objects, in processes of furc's own."""

from __future__ import annotations

import gc

# Objects made before Python looks for cycles among them (its own 700): modules and graphs stay, and were looked through
# again and again, a tenth of a compile's time, and a third where a model has thousands of operators.
YOUNG_OBJECTS = 100_000


def collect_seldom() -> None:
    """For the whole process, from now on."""
    gc.set_threshold(YOUNG_OBJECTS)
