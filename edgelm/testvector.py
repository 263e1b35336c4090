"""The test vector inside every model file: a seeded input, and the landmarks the network answered at export.

Replayed on the device by `edgelm selftest`, it proves engine, kernels and decoding without a photo or a reference.
K = landmarks, H, W = height and width in px.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm import decode
from edgelm.errors import ModelFileError
from edgelm.spec import ModelSpec, TestVector

__all__ = ["SelftestReport", "make_vector", "replay", "synthetic_input"]

Array = npt.NDArray[Any]
Run = Callable[[Array], Array]
"""A network: (1, H, W, 3) float32 -> heatmaps (1, K, h, w) float32."""

_GRIDS = (3, 7, 19, 53)
_HELD = 0.5
_SPREAD = 4.0  # two trials do not show the largest change that may happen


@dataclass(frozen=True, eq=False)
class SelftestReport:
    """What a replay found, in crop px.

    Attributes:
        distance_px: (K,) between the stored and the found point.
        score_error: (K,) |found - stored|.
        decidable: (K,) only these points are held to the tolerance; the others were near ties at export.
        tolerance_px: allowed distance.
        tolerance_score: allowed score error, for every point.
    """

    distance_px: Array
    score_error: Array
    decidable: Array
    tolerance_px: float
    tolerance_score: float

    @property
    def worst_px(self) -> float:
        """The largest distance of a decidable point, 0 where there is none."""
        return float(self.distance_px[self.decidable].max(initial=0.0))

    @property
    def worst_score(self) -> float:
        """The largest score error."""
        return float(self.score_error.max(initial=0.0))

    @property
    def passed(self) -> bool:
        """Whether this device computes what the network computed at export."""
        return self.worst_px <= self.tolerance_px and self.worst_score <= self.tolerance_score


def synthetic_input(seed: int, height: int, width: int) -> Array:
    """Coloured clouds (1, height, width, 3) float32 in [0, 1], the same bits on every machine.

    Noise on a few coarse grids, enlarged bilinearly and added, in integers: only the last division rounds.
    """
    random = np.random.RandomState(seed)
    total = np.zeros((height, width, 3), np.int64)
    for size in _GRIDS:
        grid = random.randint(0, 256, (size, size, 3)).astype(np.int64)
        rows, columns = _positions(size, height), _positions(size, width)
        across = _blend(grid, *columns, axis=1)
        # Every grid weighs the same: _blend multiplies by twice the length of the axis.
        total += _blend(across, *rows, axis=0)
    whole = 255 * len(_GRIDS) * (2 * height) * (2 * width)
    return (total / whole).astype(np.float32)[None]


def make_vector(
    run: Run,
    spec: ModelSpec,
    seed: int = 0,
    *,
    margin: float = 0.005,
    tolerance_px: float = 0.01,
    tolerance_score: float = 0.02,
    rounding: float = 0.0,
    others: Sequence[Run] = (),
) -> TestVector | None:
    """Run the network on the synthetic input and keep its answer; None where it has none that holds.

    A network with quantized activations amplifies rounding: a value at the border of two levels goes this way or that.
    With `rounding` the input is changed twice by about that share, as another machine's sums would change the first
    layer's; what moves then is no landmark that a device can be held to, and scores may differ as much and more. Where
    most of them move, as with random weights, there is nothing to hold a device to.

    Args:
        run: the network.
        spec: its description.
        seed: of the synthetic input.
        margin: see `edgelm.decode.decidable`.
        tolerance_px: allowed distance in crop px.
        tolerance_score: allowed error of a score, as a fraction of the largest one.
        rounding: relative size of the trial changes, 0 for none.
        others: the network as other engines may round it, which are trials too.
    """
    x = synthetic_input(seed, spec.input.height, spec.input.width)
    heatmaps = run(x)
    xy, score = _answer(heatmaps, spec)
    decided = decode.decidable(heatmaps, spec.decode, spec.score, margin=margin)[0]
    allowed = tolerance_score * float(np.abs(score).max(initial=0.0))
    clear = decided.sum()
    changed = [run(x * np.float32(factor)) for factor in ((1 + rounding, 1 - rounding) if rounding else ())]
    for maps in (*changed, *(other_run(x) for other_run in others)):
        moved, other = _answer(maps, spec)
        decided &= np.hypot(*(moved - xy).T) <= tolerance_px
        allowed = max(allowed, _SPREAD * float(np.abs(other - score).max(initial=0.0)))
    if not decided.any() or decided.sum() < _HELD * clear:
        return None
    return TestVector(
        seed=seed,
        xy=tuple((x, y) for x, y in xy.tolist()),
        score=tuple(score.tolist()),
        decidable=tuple(decided.tolist()),
        tolerance_px=tolerance_px,
        tolerance_score=allowed,
    )


def replay(run: Run, spec: ModelSpec) -> SelftestReport:
    """Run the network on the stored vector's input and compare.

    Raises:
        ModelFileError: the model file holds no test vector.
    """
    vector = spec.test_vector
    if vector is None:
        raise ModelFileError(
            "the model file holds no test vector: either its answers hang on rounding, as those of random weights with "
            "quantized activations do, or it was not written by `edgelm export`"
        )
    xy, score = _answer(run(synthetic_input(vector.seed, spec.input.height, spec.input.width)), spec)
    return SelftestReport(
        distance_px=np.hypot(*(xy - np.array(vector.xy)).T),
        score_error=np.abs(score - np.array(vector.score)),
        decidable=np.array(vector.decidable, bool),
        tolerance_px=vector.tolerance_px,
        tolerance_score=vector.tolerance_score,
    )


def _answer(heatmaps: Array, spec: ModelSpec) -> tuple[Array, Array]:
    """Points in crop coordinates (K, 2) and scores (K,), float64."""
    uv, score = decode.decode(heatmaps, spec.decode, spec.score)
    return decode.to_crop(uv, spec)[0], score[0].astype(np.float64)


def _positions(size: int, length: int) -> tuple[Array, Array]:
    """For each of `length` pixels over `size` cells: the left cell, and how far right of it, in 1 / (2 length)."""
    place = np.clip((2 * np.arange(length) + 1) * size - length, 0, 2 * length * (size - 1))
    left = np.minimum(place // (2 * length), size - 2)
    return left, place - left * 2 * length


def _blend(grid: Array, left: Array, distance: Array, *, axis: int) -> Array:
    """Bilinear enlargement along one axis, times twice the new length."""
    weight = distance.reshape([-1 if a == axis else 1 for a in range(grid.ndim)])
    near, far = np.take(grid, left, axis), np.take(grid, left + 1, axis)
    blended: Array = near * (2 * len(left) - weight) + far * weight
    return blended
