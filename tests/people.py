"""Persons for the tests of tracking: drawn as three coloured blobs, found by a network that is known exactly.

Landmark k of a person is the blob of colour k, and heatmap k of a crop is its colour channel k: of two persons in one
crop either can win, and who stands behind another is covered, as with real ones.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgelm.crops import get_crop
from edgelm.runtimes.base import Session
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import InputSpec, LandmarkScheme, ModelSpec

Array = NDArray[Any]
Way = Callable[[int], tuple[float, float] | None]
"""Frame number -> the middle of a person in px, or None while they are away."""

HEIGHT, WIDTH = 180, 320
SHAPE = np.array([[-14.0, -12.0], [14.0, -12.0], [0.0, 16.0]])
"""Blobs of a person about their middle, px."""
SPEC = ModelSpec(
    name="colours",
    task="face",
    scheme=LandmarkScheme("colours3", ("blue", "green", "red"), flip_pairs=(), contours=((0, 1, 2, 0),)),
    input=InputSpec(64, 64, channels="BGR"),
    crop=get_crop("hrnet_face"),
    heatmap_height=64,
    heatmap_width=64,
)


class ColourSession(Session):
    """Its heatmaps are the crop's colours."""

    engine: ClassVar[str] = "fake"

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        super().__init__(Path("fake"), spec, engine_version="fake 1", weights_bytes=0, threads=1)
        self.boxes = 0

    def _run(self, x: Array) -> Array:
        self.boxes += len(x)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))

    def close(self) -> None:
        """Nothing to release."""


def make_runtime(spec: ModelSpec = SPEC) -> Runtime:
    return Runtime.from_session(ColourSession(spec))


def picture(middles: Sequence[tuple[float, float]]) -> Array:
    """An image (HEIGHT, WIDTH, 3) uint8 BGR of persons, later ones in front."""
    image = np.full((HEIGHT, WIDTH, 3), 10, np.uint8)
    for x, y in middles:
        left, top = max(int(x) - 32, 0), max(int(y) - 32, 0)
        right, bottom = min(int(x) + 33, WIDTH), min(int(y) + 33, HEIGHT)
        if left >= right or top >= bottom:
            continue
        patch = image[top:bottom, left:right]
        rows, columns = np.ogrid[top:bottom, left:right]
        patch[np.hypot(columns - x, rows - y) < 28] = 20
        for k, (dx, dy) in enumerate(SHAPE):
            blob = np.exp(-((columns - x - dx) ** 2 + (rows - y - dy) ** 2) / (2 * 3.0**2))
            patch[:, :, k] = np.maximum(patch[:, :, k], np.rint(250 * blob))
    return image


def box_of(middle: tuple[float, float]) -> Array:
    """The tight box (4,) around a person's blobs."""
    points = SHAPE + middle
    return np.concatenate([points.min(0), points.max(0)])


class Scene:
    """Persons on their ways, and a detector that knows them, except who is covered by another.

    Attributes:
        looks: frame numbers at which the detector was asked.
    """

    def __init__(self, ways: Sequence[Way], count: int, *, noise: float = 0.0) -> None:
        self.ways, self.count, self.noise = ways, count, noise
        self.looks: list[int] = []
        self._rng = np.random.default_rng(0)
        self._now = 0

    def frames(self) -> Iterator[Array]:
        """The pictures of all frames, one by one."""
        for now in range(self.count):
            self._now = now
            yield picture([m for way in self.ways if (m := way(self._now)) is not None])

    def detector(self, image: Array) -> Array:
        """Boxes (N, 4) of who is to be seen in the frame that was given last."""
        self.looks.append(self._now)
        middles = [m for way in self.ways if (m := way(self._now)) is not None]
        shown = [
            m
            for i, m in enumerate(middles)
            if all(np.hypot(m[0] - front[0], m[1] - front[1]) > 24 for front in middles[i + 1 :])
            and -10 < m[0] < WIDTH + 10
            and -10 < m[1] < HEIGHT + 10
        ]
        boxes = np.array([box_of(m) for m in shown]).reshape(-1, 4)
        return boxes + self._rng.normal(0, self.noise, boxes.shape)

    def nearest(self, xy: Array, frame: int) -> tuple[int, float, bool]:
        """Whose points xy (3, 2) are in a frame, the largest distance of one, px, and if they can be told apart."""
        middles = [way(frame) or (-1e3, -1e3) for way in self.ways]
        away = np.hypot(*(np.array(middles) - xy.mean(0) + SHAPE.mean(0)).T)
        one = int(away.argmin())
        apart = all(np.hypot(*np.subtract(m, middles[one])) > 60 for i, m in enumerate(middles) if i != one)
        apart &= bool(((SHAPE + middles[one] >= 0) & (SHAPE + middles[one] < (WIDTH, HEIGHT))).all())
        return one, float(np.hypot(*(xy - SHAPE - middles[one]).T).max()), apart


def line(start: tuple[float, float], step: tuple[float, float], first: int = 0, last: int = 10**6) -> Way:
    """A way straight on, from `start` in frame `first` until frame `last`, excluded."""

    def at(frame: int) -> tuple[float, float] | None:
        if not first <= frame < last:
            return None
        return start[0] + step[0] * (frame - first), start[1] + step[1] * (frame - first)

    return at


def standing(x: float, y: float, first: int = 0, last: int = 10**6) -> Way:
    """Somebody who stands at one place."""
    return line((x, y), (0, 0), first, last)
