"""The 98 face points of WFLW."""

from edgelm.spec import LandmarkScheme

__all__ = ["WFLW98"]

_GROUPS = (
    ("jaw", 33),
    ("right_brow", 9),
    ("left_brow", 9),
    ("nose_bridge", 4),
    ("nose_base", 5),
    ("right_eye", 8),
    ("left_eye", 8),
    ("outer_lip", 12),
    ("inner_lip", 8),
)

# fmt: off
WFLW98 = LandmarkScheme(
    name="wflw98",
    names=(*(f"{group}_{i}" for group, count in _GROUPS for i in range(count)), "right_pupil", "left_pupil"),
    flip_pairs=(
        *((k, 32 - k) for k in range(16)), (33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49),
        (40, 48), (41, 47), (60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73),
        (55, 59), (56, 58), (76, 82), (77, 81), (78, 80), (83, 87), (84, 86), (88, 92), (89, 91), (93, 95),
        (96, 97),
    ),
    contours=(
        tuple(range(33)),
        (*range(33, 42), 33),
        (*range(42, 51), 42),
        tuple(range(51, 55)),
        tuple(range(55, 60)),
        (*range(60, 68), 60),
        (*range(68, 76), 68),
        (*range(76, 88), 76),
        (*range(88, 96), 88),
    ),
)
# fmt: on
