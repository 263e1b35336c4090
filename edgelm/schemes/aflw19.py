"""The 19 face points of AFLW: its 21 without the ear lobes."""

from edgelm.spec import LandmarkScheme

__all__ = ["AFLW19"]

# fmt: off
AFLW19 = LandmarkScheme(
    name="aflw19",
    names=(
        "right_brow_outer", "right_brow_middle", "right_brow_inner", "left_brow_inner", "left_brow_middle",
        "left_brow_outer", "right_eye_outer", "right_eye_middle", "right_eye_inner", "left_eye_inner",
        "left_eye_middle", "left_eye_outer", "nose_right", "nose_tip", "nose_left", "mouth_right",
        "mouth_middle", "mouth_left", "chin",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9), (12, 14), (15, 17)),
    contours=((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14), (15, 16, 17)),
)
# fmt: on
