"""The 17 body joints of COCO."""

from edgelm.spec import LandmarkScheme

__all__ = ["COCO17"]

_PAIRED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

# fmt: off
COCO17 = LandmarkScheme(
    name="coco17",
    names=("nose", *(f"{side}_{part}" for part in _PAIRED for side in ("left", "right"))),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    contours=((3, 1, 0, 2, 4), (9, 7, 5, 6, 8, 10), (15, 13, 11, 12, 14, 16), (5, 11), (6, 12)),
    sigmas=(
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087,
        0.089, 0.089,
    ),
)
# fmt: on
