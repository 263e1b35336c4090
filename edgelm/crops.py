"""The crop conventions of the field by name: how a box becomes the crop that a network was trained on.

Geometry itself is in `edgelm.geometry`. The MPII presets take the square box of side 200 s around MPII's given centre.
FAN's crop is made of a detector's box: "fan" of S3FD's, "fan_yunet" of those of YuNet, SCRFD and RetinaFace, which are
tighter. Where the authors round the centre to whole pixels (SDU, COFW) edgelm keeps the fraction: the way back uses the
same centre, so no point moves.
"""

from edgelm.errors import UsageError
from edgelm.spec import CropSpec

__all__ = ["crop_names", "get_crop", "register_crop"]

_CROPS: dict[str, CropSpec] = {}


def register_crop(crop: CropSpec) -> CropSpec:
    """Make a crop convention known under its preset name.

    Raises:
        UsageError: the name is taken.
    """
    if crop.preset in _CROPS:
        raise UsageError(f"crop.preset {crop.preset!r} exists already; choose another name")
    _CROPS[crop.preset] = crop
    return crop


def get_crop(name: str) -> CropSpec:
    """The crop convention called `name`, for example "hrnet_face".

    Raises:
        UsageError: no preset has that name.
    """
    if name not in _CROPS:
        raise UsageError(f"unknown crop.preset {name!r}; known are {', '.join(_CROPS)}")
    return _CROPS[name]


def crop_names() -> tuple[str, ...]:
    """The names of all known crop conventions."""
    return tuple(_CROPS)


for _crop in (
    CropSpec("hrnet_face", factor=1.25),
    CropSpec("hrnet_pose", factor=1.25, aspect=0.75),
    CropSpec("mpii", factor=1.25, shift=(0.0, 15 / 200)),
    CropSpec("lsp", factor=1.4375),
    CropSpec("cunet_300w", factor=1.1),
    CropSpec("bcll_aflw2000", factor=400 / 190, side="mean"),
    CropSpec("fan", factor=400 / 195, shift=(0.0, -0.12), side="mean"),
    CropSpec("fan_yunet", factor=400 / 165, shift=(0.0, -0.12), side="mean"),
    CropSpec("sdu", factor=2.0),
):
    register_crop(_crop)
