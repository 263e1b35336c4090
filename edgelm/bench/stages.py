"""Percentiles of timed stages. Times come in ns and leave in ms."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["NOISY_RATIO", "STAGES", "is_noisy", "summarize"]

STAGES = ("crop", "network", "decode", "total")
NOISY_RATIO = 1.5
"""A total whose p90 is more than this many p50s says more about the machine's other work than about the model."""


def summarize(times_ns: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
    """p50, p90, p99 and min of every stage in ms; nothing is clipped or dropped."""
    result = {}
    for stage in STAGES:
        ms = np.asarray(times_ns[stage], np.float64) / 1e6
        p50, p90, p99 = np.percentile(ms, (50, 90, 99))
        result[stage] = {
            k: round(float(v), 4) for k, v in (("p50", p50), ("p90", p90), ("p99", p99), ("min", ms.min()))
        }
    return result


def is_noisy(stages: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the total varies so much that another run may tell another story."""
    return stages["total"]["p90"] > NOISY_RATIO * stages["total"]["p50"]
