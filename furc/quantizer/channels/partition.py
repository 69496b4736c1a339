"""Cut a row of numbers into groups so that a cost of the groups is least."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def best_partition(cost: Float64, groups: int, multiple: int = 1) -> tuple[list[int], float]:
    """Where to cut n items into so many groups of neighbours, and what that costs. Least over all ways to cut.

    cost: [n + 1, n + 1], of the group from i to j (exclusive), i < j. multiple: all cuts are at multiples of it.
    Returns the ends of the groups, the last of them n.
    """
    ends = [*range(0, len(cost) - 1, multiple), len(cost) - 1]
    part = cost[np.ix_(ends, ends)]
    size = len(ends)
    groups = min(groups, size - 1)
    part = np.where(np.tri(size, dtype=bool), np.inf, part)  # a group ends behind where it begins
    best, came = [part[0]], list[NDArray[np.intp]]()
    for _ in range(groups - 1):
        step = best[-1][:, None] + part
        came.append(step.argmin(axis=0))
        best.append(step.min(axis=0))
    at, cuts = size - 1, list[int]()
    for back in reversed(came):
        cuts.append(ends[at])
        at = int(back[at])
    return [*reversed([*cuts, ends[at]])], float(best[-1][-1])
