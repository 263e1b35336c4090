"""From a scheduling model's cycles to time on a board: factors, and how far they are to be trusted.

They were found once, with the very method of mca.py, on 22 convolutional networks of ncnn in float and int8, whose
times on one thread of real boards ncnn's authors publish in their benchmark's README. None of those networks counts
bits or looks up tables: for kernels that do, only the scheduling model's own tables speak. The model knows no cache
misses, no mispredicted branch and no clock that sinks when a board is warm; the factor holds what these took on
average.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """Of a board.

    Attributes:
        factor: published time over the model's, geometric mean of the networks.
        spread: one geometric standard deviation of it, as a factor.
        low: smallest ratio among the networks.
        high: largest.
        bar: error bar that is shown, as a factor: wider than the spread, since kernels like ours were not among them.
    """

    factor: float
    spread: float
    low: float
    high: float
    bar: float


CALIBRATIONS = {
    "a72": Calibration(factor=1.58, spread=1.15, low=1.12, high=1.99, bar=1.25),
    "a76": Calibration(factor=1.11, spread=1.09, low=0.93, high=1.39, bar=1.20),
}
"""By core. There is none for the Cortex-A53: its model in LLVM gives every vector instruction a latency of six cycles,
and published times scattered by a factor of 1.67 around it. Nothing is estimated for it."""

RATIO_BAR = 1.15
"""Error bar of a ratio between two engines on one core, as a factor: what the board adds to both mostly cancels."""


def milliseconds(cycles: float, cpu: str, ghz: float) -> float:
    """Estimated time of so many cycles of the model."""
    return cycles * CALIBRATIONS[cpu].factor / ghz / 1e6
