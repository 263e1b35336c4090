"""The 16 body joints of MPII Human Pose."""

from edgelm.spec import LandmarkScheme

__all__ = ["MPII16"]

# fmt: off
MPII16 = LandmarkScheme(
    name="mpii16",
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
        "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
        "left_wrist",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    contours=((0, 1, 2, 6, 3, 4, 5), (6, 7, 8, 9), (10, 11, 12, 7, 13, 14, 15)),
    sigmas=(
        0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026, 0.062, 0.072, 0.179, 0.179, 0.072,
        0.062,
    ),
)
# fmt: on
