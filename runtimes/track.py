"""Landmarks through time: detect now and then, follow each person by their own points in between, keep their ids.

One step, for one frame:

1. Where each known person should be: the box around their last points, moved on by their speed.
2. Every `detect_every` frames, in each frame in which nobody is followed, and 1, 2, 4, 8... frames after somebody went
   missing, the detector looks at the whole image. Boxes are given to known persons by IoU, so that its sum is largest
   (`edgelm.runtimes.assign`). What is left over are newcomers. The detected box is tried for who was missing; the
   others' own points fit closer.
3. One batch of the network on all these boxes.
4. Who scores below `keep_score`, or is not near where they should be, is missing. Where the points of two agree by
   OKS, one box has slipped onto the other's person. Newcomers lose to known persons, those who were missing to those
   who were not, and else who is farther from where they should be; the loser is missing too.
5. Who is missing is expected further along their way for `max_missing` frames, and gets the same id when detected
   there. Then they are forgotten; ids are never given again.

Smoothing concerns what is handed out; boxes come from the points as they are, which have no lag.
P = boxes that are tried, K = landmarks.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgelm.boxes import check_boxes
from edgelm.errors import UsageError
from edgelm.images import as_bgr8
from edgelm.landmarks import Landmarks
from edgelm.runtimes.assign import assign
from edgelm.runtimes.detections import detect
from edgelm.runtimes.frames import Frame
from edgelm.runtimes.one_euro import OneEuroOptions
from edgelm.runtimes.person import Person, agreement, box_around, centre, overlaps, usable
from edgelm.spec import ModelSpec, Score

__all__ = ["TrackOptions", "Tracked", "Tracker", "track"]

Array = npt.NDArray[Any]

_KEEP_SCORE: dict[Score, float] = {"max": 0.3, "sigmoid_max": 0.5, "softmax_near": 0.7}
_DOUBT = 0.05  # for each frame that somebody is missing, by which their place, in sides, and their size get less sure
_MOST_DOUBT = 0.5
_BOX_SCALE = {"face": 1.0, "pose": 1.25}


class Finder(Protocol):
    """What a tracker needs of a runtime."""

    spec: ModelSpec

    def __call__(self, image: Array, boxes: Any = None, *, detector: Any = None) -> Landmarks:
        """As `edgelm.Runtime`."""


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """How persons are followed.

    Attributes:
        detect_every: frames from one look of the detector to the next while all is well.
        keep_score: mean score of the points below which a person is missing; None: 0.3, 0.5 or 0.7 by the model's score
            rule (max, sigmoid_max, softmax_near), which differ in what an empty crop scores.
        follow_iou: the least IoU of the box around a followed person's points and the one they were expected in; with
            less, their points have slipped onto something else.
        match_iou: the least IoU of a detected box and the one a known person is expected in. Both are enlarged for who
            is missing, the more the longer.
        same_oks: OKS from which two sets of points are of one person, about the share they have in common.
        max_missing: frames for which a missing person is remembered.
        box_scale: the tight box around a person's points is scaled by this; None: 1 for faces, whose networks are
            trained on that box, 1.25 for poses, whose joints lie within the body.
        smooth: One Euro filter in px of a person of 200 px (the root of the box's area); None hands out the points as
            they are.
    """

    detect_every: int = 10
    keep_score: float | None = None
    follow_iou: float = 0.6
    match_iou: float = 0.3
    same_oks: float = 0.5
    max_missing: int = 30
    box_scale: float | None = None
    smooth: OneEuroOptions | None = field(default_factory=OneEuroOptions)

    def __post_init__(self) -> None:
        whole = {"detect_every": (self.detect_every, 1), "max_missing": (self.max_missing, 0)}
        for name, (value, least) in whole.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} is a whole number from {least} on, got {value!r}")
        for name in ("keep_score", "follow_iou", "match_iou", "same_oks", "box_scale"):
            value = getattr(self, name)
            if value is None and name in ("keep_score", "box_scale"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise UsageError(f"{name} is a finite number above 0, got {value!r}")


@dataclass(frozen=True, eq=False)
class Tracked:
    """What one frame gave.

    Attributes:
        index: of the frame, from 0.
        time: s from the first frame on.
        image: the frame's own.
        landmarks: of the persons in it, `track_id` included, by rising id.
        detected: whether the detector looked at this frame.
    """

    index: int
    time: float
    image: Array
    landmarks: Landmarks
    detected: bool

    def draw(self, **options: Any) -> Array:
        """The frame with the points on it, as a new (H, W, 3) uint8 BGR array; see `edgelm.draw.draw`."""
        return self.landmarks.draw(self.image, **options)


def track(
    runtime: Finder,
    frames: Iterable[Frame | Array],
    *,
    detector: Callable[[Array], Any] | None = None,
    options: TrackOptions | None = None,
    fps: float = 30.0,
) -> Iterator[Tracked]:
    """Follow persons through frames, one result for each frame, as soon as it is there.

    Args:
        runtime: of the model.
        frames: of `edgelm.runtimes.frames.open_frames`, or plain images, which then are `fps` to a second.
        detector: as in `Runtime.__call__`.
        options: see `TrackOptions`.
        fps: of plain images.

    Raises:
        UsageError: at once for a pose model without a detector; at its frame for an image or box that cannot be used.
    """
    if not 0 < fps < math.inf:
        raise UsageError(f"fps is a number above 0, got {fps!r}")
    tracker = Tracker(runtime, detector=detector, options=options)
    numbered = (f if isinstance(f, Frame) else Frame(i, i / fps, f) for i, f in enumerate(frames))
    return (tracker(frame.image, frame.time, index=frame.index) for frame in numbered)


class Tracker:
    """The persons known so far; for one sequence, from one thread. `track` is this in a loop."""

    def __init__(
        self,
        runtime: Finder,
        *,
        detector: Callable[[Array], Any] | None = None,
        options: TrackOptions | None = None,
    ) -> None:
        """Know nobody yet; arguments and errors as in `track`."""
        spec = runtime.spec
        if detector is None:
            if spec.task != "face":
                raise UsageError(f"{spec.name} is a {spec.task} model; pass a detector")
            from edgelm.runtimes.detect import find_faces

            detector = find_faces
        self.options = o = options or TrackOptions()
        self._runtime, self._detector = runtime, detector
        self._keep_score = _KEEP_SCORE[spec.score] if o.keep_score is None else o.keep_score
        self._box_scale = _BOX_SCALE[spec.task] if o.box_scale is None else o.box_scale
        self._sigmas = np.array(spec.scheme.sigmas) if spec.scheme.sigmas else None
        self._people: list[Person] = []
        self._size: tuple[int, int] | None = None
        self._index, self._since, self._next_id = 0, 0, 0

    def __call__(self, image: Array, time: float, *, index: int | None = None) -> Tracked:
        """Look at the next frame.

        Args:
            image: any kind `edgelm.images.as_bgr8` takes. Where its size changes, persons are looked for at the same
                share of the new one.
            time: s, above the last frame's; where it is not, speeds and smoothing start anew.
            index: of the frame; counted where it is not given.

        Raises:
            UsageError: an image that cannot be used, or a detector that gives no boxes of it. What is known stays as it
                was before this frame then, as it does where the detector raises.
        """
        image = as_bgr8(image)
        size = (image.shape[0], image.shape[1])
        resized = self._size is not None and self._size != size
        known = [p.resized(self._size, size) if self._size and resized else p for p in self._people]
        expected = {p.id: p.box_at(time) for p in known}
        followed = [p for p in known if p.missing == 0 and usable(expected[p.id], size)]
        tried: list[tuple[Person | None, Array]] = [(p, expected[p.id]) for p in followed]
        detecting = resized or not followed or self._since + 1 >= self.options.detect_every
        detecting = detecting or any(_power_of_two(p.missing) for p in known)
        if detecting:

            def boxes(seen: Array) -> list[Array]:
                found = check_boxes(detect(self._detector, seen)[0], size)
                tried.extend(self._detected(known, expected, followed, found))
                return [box for _, box in tried]

            result = self._runtime(image, detector=boxes)
        else:
            result = self._runtime(image, [box for _, box in tried])
        kept = self._kept([p for p, _ in tried], expected, result, size)
        self._size = size
        self._since = 0 if detecting else self._since + 1
        self._index = self._index + 1 if index is None else index + 1
        landmarks = self._remember(known, [(tried[i][0], i) for i in kept], result, time)
        return Tracked(self._index - 1, time, image, landmarks, detecting)

    def _detected(
        self, known: list[Person], expected: dict[int, Array], followed: list[Person], found: Array
    ) -> list[tuple[Person | None, Array]]:
        """Whom to look for beside the followed, and in which box: who was missing, and newcomers (None)."""
        before = np.array([expected[p.id] for p in known]).reshape(-1, 4)
        doubt = np.array([min(_DOUBT * p.missing, _MOST_DOUBT) for p in known])
        pairs = {d: known[p] for p, d in assign(overlaps(before, found, doubt), self.options.match_iou)}
        ids = {p.id for p in followed}
        return [(pairs.get(d), box) for d, box in enumerate(found) if d not in pairs or pairs[d].id not in ids]

    def _kept(
        self, tried: list[Person | None], expected: dict[int, Array], result: Landmarks, size: tuple[int, int]
    ) -> list[int]:
        """The rows of the result that are persons, each person once."""
        boxes = [
            box_around(xy, score, self._keep_score / 2, self._box_scale) for xy, score in zip(*result, strict=True)
        ]
        ranked = []
        for i, (person, box) in enumerate(zip(tried, boxes, strict=True)):
            if not (result.score[i].mean() >= self._keep_score and usable(box, size)):
                continue
            away, missing = 0.0, 0
            if person is not None:
                should, missing = expected[person.id], person.missing
                away = float(np.hypot(*(centre(box) - centre(should)))) / _side(should)
                # Who comes back may be elsewhere, but not at once be of another size: that is half of somebody.
                should = should + np.tile(centre(box) - centre(should), 2) if missing else should
                least = max(self.options.follow_iou - _DOUBT * missing, self.options.match_iou)
                if overlaps(should[None], box[None])[0, 0] < least:
                    continue
            ranked.append((person is None, missing > 0, away, i))
        kept: list[int] = []
        for *_, i in sorted(ranked):
            area = _side(boxes[i]) ** 2
            agreements = [agreement(result.xy[i], result.xy[j], area, self._sigmas) for j in kept]
            if all(a < self.options.same_oks for a in agreements):
                kept.append(i)
        return kept

    def _remember(
        self, known: list[Person], seen: list[tuple[Person | None, int]], result: Landmarks, time: float
    ) -> Landmarks:
        """Bring the persons up to this frame; the landmarks of those who are seen, by rising id."""
        now: dict[int, tuple[Person, Array, int]] = {}
        for person, i in sorted(seen, key=lambda one: one[1]):  # newcomers get ids in the detector's order
            box = box_around(result.xy[i], result.score[i], self._keep_score / 2, self._box_scale)
            if person is None:
                person = Person(self._next_id, box, time, np.zeros(2))
                self._next_id += 1
            moved = person.moved_to(box, time)
            now[moved.id] = (*moved.smoothed(result.xy[i], result.score[i], self.options.smooth), i)
        away = [replace(p, missing=p.missing + 1) for p in known if p.id not in now]
        self._people = [now[i][0] for i in sorted(now)] + [p for p in away if p.missing <= self.options.max_missing]
        rows = [now[i] for i in sorted(now)]
        order = np.array([i for _, _, i in rows], int)
        xy = np.array([points for _, points, _ in rows], np.float32).reshape(len(rows), *result.xy.shape[1:])
        return replace(result[order], xy=xy, track_id=np.array([p.id for p, _, _ in rows], np.int64))


def _side(box: Array) -> float:
    """The root of a box's area, px."""
    return float(np.sqrt(np.prod(box[2:] - box[:2])))


def _power_of_two(count: int) -> bool:
    return count > 0 and count & (count - 1) == 0
