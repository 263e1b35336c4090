"""The 29 face points of COFW."""

from edgelm.spec import LandmarkScheme

__all__ = ["COFW29"]

# fmt: off
COFW29 = LandmarkScheme(
    name="cofw29",
    names=(
        "right_brow_outer", "left_brow_outer", "right_brow_inner", "left_brow_inner", "right_brow_top",
        "right_brow_bottom", "left_brow_top", "left_brow_bottom", "right_eye_outer", "left_eye_outer",
        "right_eye_inner", "left_eye_inner", "right_eye_top", "right_eye_bottom", "left_eye_top",
        "left_eye_bottom", "right_pupil", "left_pupil", "right_nostril", "left_nostril", "nose_tip",
        "nose_base", "mouth_right", "mouth_left", "upper_lip_top", "upper_lip_bottom", "lower_lip_top",
        "lower_lip_bottom", "chin",
    ),
    flip_pairs=(
        (0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23),
    ),
    contours=(
        (0, 4, 2, 5, 0),
        (1, 6, 3, 7, 1),
        (8, 12, 10, 13, 8),
        (9, 14, 11, 15, 9),
        (18, 20, 19, 21, 18),
        (22, 24, 23, 27, 22),
        (22, 25, 23, 26, 22),
    ),
)
# fmt: on
