"""Who is who: the exact assignment of old rows to new columns by a similarity, without scipy.

T = rows (tracks), D = columns (detections); a few dozen of each.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["assign"]

Array = npt.NDArray[Any]


def assign(similarity: Array, least: float) -> list[tuple[int, int]]:
    """Pairs of rows and columns, each used once, whose similarities have the largest sum.

    Pairs below `least`, not above 0 or not finite are never made, and never stand in the way of others.

    Args:
        similarity: (T, D).
        least: the smallest similarity of a pair.

    Returns:
        (row, column) pairs, by row.
    """
    T, D = similarity.shape
    able = np.isfinite(similarity) & (similarity >= least) & (similarity > 0)
    gain = np.where(able, similarity, 0.0)
    flipped = T > D
    columns = _cheapest(-(gain.T if flipped else gain))
    pairs = [(c, r) if flipped else (r, c) for r, c in enumerate(columns)]
    return sorted((t, d) for t, d in pairs if able[t, d])


def _cheapest(cost: Array) -> list[int]:
    """The column of each row with the smallest sum of costs (n, m), n <= m: the Hungarian method in O(n^2 m).

    Rows are added one by one. From each new row the shortest augmenting path to a free column is searched under reduced
    costs cost - u - v >= 0, which are 0 along all assigned pairs. Column m is where the search starts.
    """
    n, m = cost.shape
    u, v = np.zeros(n), np.zeros(m + 1)
    row_of = np.full(m + 1, -1)
    for row in range(n):
        row_of[m] = row
        at = m
        shortest, previous = np.full(m, np.inf), np.full(m, m)
        done = np.zeros(m + 1, bool)
        while row_of[at] >= 0:
            done[at] = True
            reduced = cost[row_of[at]] - u[row_of[at]] - v[:m]
            closer = ~done[:m] & (reduced < shortest)
            shortest[closer], previous[closer] = reduced[closer], at
            at = int(np.where(done[:m], np.inf, shortest).argmin())
            step = shortest[at]
            u[row_of[done]] += step
            v[done] -= step
            shortest[~done[:m]] -= step
        while at != m:
            row_of[at] = row_of[previous[at]]
            at = int(previous[at])
    columns = np.empty(n, int)
    columns[row_of[:m][row_of[:m] >= 0]] = np.flatnonzero(row_of[:m] >= 0)
    return [int(column) for column in columns]
