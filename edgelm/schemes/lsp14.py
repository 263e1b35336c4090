"""The 14 body joints of Leeds Sports Pose."""

from edgelm.spec import LandmarkScheme

__all__ = ["LSP14"]

# fmt: off
LSP14 = LandmarkScheme(
    name="lsp14",
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
        "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
    contours=((0, 1, 2, 3, 4, 5), (6, 7, 8, 12, 9, 10, 11), (2, 8), (3, 9), (12, 13)),
)
# fmt: on
