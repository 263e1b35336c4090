"""Landmarks: the result of a run, for N faces or persons at once, and the formats it converts to.

Drawing is `edgelm.draw`. N = faces or persons, K = landmarks.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import UsageError
from edgelm.record import record
from edgelm.spec import LandmarkScheme

if TYPE_CHECKING:
    from edgelm.tables import NormalizedLandmark

__all__ = ["Landmarks"]

Array = npt.NDArray[Any]


@record(frozen=True, eq=False)
class Landmarks:
    """Points of N faces or persons in one image.

    `xy, score = result` unpacks all of them at once; `len(result)` is N, `result[i]` is one of them, again as Landmarks
    (of one), a slice or mask is several, and `for one in result.each()` goes through them. Plain iteration is taken by
    the unpacking.

    Attributes:
        xy: (N, K, 2) float32 image px, 0-based pixel centres.
        score: (N, K) float32; 0 or below means that the network saw no such point.
        box: (N, 4) float64 x1, y1, x2, y2 image px, as given or detected.
        crop_matrix: (N, 2, 3) float64 from image px to crop coordinates, see `edgelm.geometry`.
        scheme: which landmark is which.
        image_size: (height, width) px.
        times: ms per stage: detect, crop, network, decode, total.
        track_id: (N,) int64 in a video, else None.
        box_score: (N,) float64, what the detector gave its boxes, else None.
    """

    xy: Array
    score: Array
    box: Array
    crop_matrix: Array
    scheme: LandmarkScheme
    image_size: tuple[int, int]
    times: Mapping[str, float] = field(default_factory=dict)
    track_id: Array | None = None
    box_score: Array | None = None

    def __post_init__(self) -> None:
        N, K = len(self.xy), len(self.scheme.names)
        wanted = {"xy": (N, K, 2), "score": (N, K), "box": (N, 4), "crop_matrix": (N, 2, 3)}
        wanted |= {name: (N,) for name in ("track_id", "box_score") if getattr(self, name) is not None}
        for name, shape in wanted.items():
            if (got := getattr(self, name).shape) != shape:
                raise UsageError(f"expected {name} of shape {shape} for {K} landmarks of {self.scheme.name}, got {got}")

    def __len__(self) -> int:
        return len(self.xy)

    def __iter__(self) -> Iterator[Array]:
        yield self.xy
        yield self.score

    def __getitem__(self, which: int | slice | Array) -> "Landmarks":
        if isinstance(which, int | np.integer):
            if not -len(self) <= which < len(self):
                raise IndexError(f"index {which} for {len(self)} faces or persons")
            which = slice(int(which) % len(self), int(which) % len(self) + 1)
        return replace(
            self,
            xy=self.xy[which],
            score=self.score[which],
            box=self.box[which],
            crop_matrix=self.crop_matrix[which],
            track_id=None if self.track_id is None else self.track_id[which],
            box_score=None if self.box_score is None else self.box_score[which],
        )

    def each(self) -> Iterator["Landmarks"]:
        """One face or person after the other, each as Landmarks of one."""
        return (self[i] for i in range(len(self)))

    def draw(self, image: Array, **options: Any) -> Array:
        """The image with the points on it, as a new (H, W, 3) uint8 BGR array; see `edgelm.draw.draw`."""
        from edgelm.draw import draw

        return draw(image, self, **options)

    def to_pts(self, i: int = 0) -> str:
        """Face `i` as the text of a 300-W .pts file, whose coordinates are 1-based."""
        lines = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in self[i].xy[0].tolist()]
        return "\n".join(["version: 1", f"n_points: {len(lines)}", "{", *lines, "}", ""])

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO keypoint results: one record each; points without a positive score are marked 0, not labelled."""
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "keypoints": [v for (x, y), s in zip(xy, score, strict=True) for v in (x, y, 2 if s > 0 else 0)],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": sum(score) / len(score),
            }
            for xy, score, (x1, y1, x2, y2) in zip(
                self.xy.tolist(), self.score.tolist(), self.box.tolist(), strict=True
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, ready for JSON."""
        ids = [None] * len(self) if self.track_id is None else self.track_id.tolist()
        rows = zip(self.box.tolist(), ids, self.xy.tolist(), self.score.tolist(), strict=True)
        return {
            "scheme": self.scheme.name,
            "image_size": list(self.image_size),
            "times_ms": dict(self.times),
            "landmarks": [{"box": b, "track_id": t, "xy": xy, "score": s} for b, t, xy, s in rows],
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False)

    def to_csv(self) -> str:
        """One line for each point, see `edgelm.tables.to_csv`."""
        from edgelm.tables import to_csv

        return to_csv(self)

    def to_dataframe(self) -> Any:
        """A pandas DataFrame of one row for each point, see `edgelm.tables.to_dataframe`."""
        from edgelm.tables import to_dataframe

        return to_dataframe(self)

    def to_normalized(self) -> "list[list[NormalizedLandmark]]":
        """Points in shares of the image, with MediaPipe's fields, see `edgelm.tables.to_normalized`."""
        from edgelm.tables import to_normalized

        return to_normalized(self)

    def to_mmpose(self) -> list[dict[str, Any]]:
        """Records like those of MMPose's inferencers, see `edgelm.tables.to_mmpose`."""
        from edgelm.tables import to_mmpose

        return to_mmpose(self)

    def to_supervision(self) -> Any:
        """`supervision.KeyPoints`, see `edgelm.tables.to_supervision`."""
        from edgelm.tables import to_supervision

        return to_supervision(self)
