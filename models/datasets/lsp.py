"""Leeds Sports Pose (Johnson & Everingham, BMVC 2010) and its extension (CVPR 2011): joints.mat beside images/.

`joints` is (3, 14, N) in the set of 2,000 photos and (14, 3, N) in the extension of 10,000: x, y and a flag. In the
first the flag is 1 where a joint is hidden, its place is annotated all the same; in the extension it is 1 where a joint
is annotated, others count as missing. Coordinates are MATLAB's, 1-based. Photo 1 is im0001.jpg in the first and
im00001.jpg in the extension. Of the first, photos 1 to 1000 are for training. Boxes are tight around the joints.
"""

from pathlib import Path

import numpy as np

from edgelm.errors import UsageError
from edgelm.models.data import Sample, tight_box
from edgelm.models.datasets.base import Format, Request, check_landmarks
from edgelm.models.datasets.files import find_image, mat_names, numbers, read_mat

__all__ = ["LSP"]

_K = 14
_TRAINING = 1000


def _claims(path: Path) -> bool:
    return "joints" in mat_names(path)


def _load(request: Request) -> list[Sample]:
    path = request.path
    check_landmarks(path, _K, request.scheme, "lsp14")
    joints = np.asarray(read_mat(path, "joints")["joints"])
    extended = joints.ndim == 3 and joints.shape[:2] == (_K, 3)
    if extended:
        joints = joints.transpose(1, 0, 2)
        if request.split == "test":
            raise UsageError(f"{path} is the extension of Leeds Sports Pose, which is for training only")
    joints = numbers(np.nan_to_num(joints), 3, _K, -1, what=f"joints of {path}")
    samples = []
    for n, (x, y, flag) in enumerate(joints.transpose(2, 0, 1), 1):
        if not extended and request.split not in (None, "train" if n <= _TRAINING else "test"):
            continue
        with request.faults.guard(path):
            image = find_image(f"im{n:0{5 if extended else 4}d}.jpg", path, request.images)
            xy = (np.stack([x, y], -1) - 1).astype(np.float32)
            if extended:
                xy[flag == 0] = np.nan
            if not np.isfinite(xy).any():
                raise UsageError(f"{path}: photo {n} has no joint")
            samples.append(Sample(image, xy, tight_box(xy), None if extended else flag == 0, image_id=n))
    return samples


LSP = Format("lsp", _claims, _load, ("train", "test"))
