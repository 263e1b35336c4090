"""Time several things fairly: in one process, in turns, and say when the machine was too noisy to tell.

A run is valid when the median of every entry is at most 1.15 times its minimum. An invalid one is made again; where
none is valid, the last is reported as such.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgelm.bench.device import calmest_cpu

__all__ = ["NOISE_LIMIT", "Clocked", "Timing", "interleave", "pin"]

NOISE_LIMIT = 1.15
"""Largest median over minimum of a valid run."""


@dataclass(frozen=True)
class Clocked:
    """An entry that measures itself: what `call` returns counts, in ms, not how long the call takes."""

    call: Callable[[], float]

    def __call__(self) -> float:
        """The time of one run in ms."""
        return self.call()


@dataclass(frozen=True)
class Timing:
    """Times of one entry in ms.

    Attributes:
        median_ms: of all rounds.
        min_ms: of the best one.
        p90_ms: nine of ten rounds were faster.
        valid: whether the run was calm enough for all of its entries.
    """

    median_ms: float
    min_ms: float
    p90_ms: float
    valid: bool


def pin(threads: int) -> int | None:
    """Keep this process on the calmest CPU if it has one thread; returns the CPU, or None where it may use all."""
    if threads > 1:
        return None
    cpu = calmest_cpu()
    os.sched_setaffinity(0, {cpu})
    return cpu


def interleave(
    entries: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 40,
    attempts: int = 3,
    warm: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Timing]:
    """Run all entries in turns and time each.

    Args:
        entries: what to call, by name.
        rounds: timed calls of each; three more before them warm up.
        attempts: runs at most, until one is valid.
        warm: untimed calls of an entry before each timed one, for what is so short that caches filled by others count.
        progress: told a line where a run is made again.

    Returns:
        the timings by name, in the entries' order.
    """
    timings: dict[str, Timing] = {}
    for attempt in range(attempts):
        times = _run(entries, rounds, warm)
        valid = all(statistics.median(t) <= NOISE_LIMIT * min(t) for t in times.values())
        timings = {
            name: Timing(statistics.median(t), min(t), sorted(t)[int(0.9 * (len(t) - 1))], valid)
            for name, t in times.items()
        }
        if valid:
            break
        if attempt + 1 < attempts:
            progress(f"other work disturbed the run (a median above {NOISE_LIMIT} times its minimum): once more")
    return timings


def _run(entries: Mapping[str, Callable[[], object]], rounds: int, warm: int) -> dict[str, Sequence[float]]:
    for call in entries.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(rounds):
        for name, call in entries.items():
            for _ in range(warm):
                call()
            times[name].append(_time(call))
    return dict(times)


def _time(call: Callable[[], object]) -> float:
    if isinstance(call, Clocked):
        return call()
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3
