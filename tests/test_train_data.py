"""Training on persons and on data with faults: joints that are not annotated, samples that cannot be used."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from nets import random_face, write_faces
from trainings import options

from edgelm.errors import UsageError
from edgelm.models import train as module
from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.faults import Fault
from edgelm.models.losses import LOSSES, gaussian_maps
from edgelm.models.train import Progress, train
from edgelm.schemes import get_scheme

pytestmark = pytest.mark.usefixtures("known_probes")


def write_people(folder: Path, count: int, seed: int = 0) -> None:
    """Persons of 14 joints in COCO's form, one joint of each not annotated, and of one both of the torso's ends."""
    folder.mkdir(parents=True)
    joints = list(get_scheme("lsp14").names)
    images, annotations = [], []
    for i in range(count):
        image, xy = random_face(seed + i, 14)
        cv2.imwrite(str(folder / f"{i}.png"), image)
        seen = np.full(14, 2)
        seen[i % 14] = 0
        if i == 1:
            seen[[2, 9]] = 0
        points = np.column_stack([np.where(seen[:, None] > 0, xy, 0), seen])
        images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 96})
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "keypoints": points.ravel().tolist(),
             "num_keypoints": int((seen > 0).sum()), "bbox": [20, 20, 56, 56], "area": 3136, "iscrowd": 0}
        )  # fmt: skip
    categories = [{"id": 1, "name": "person", "keypoints": joints}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


@pytest.mark.parametrize("recipe", ["softmax", "cunet", "bcll"])
def test_persons_with_joints_that_nobody_annotated(tmp_path: Path, recipe: str) -> None:
    write_people(tmp_path / "train", 5)
    write_people(tmp_path / "val", 3, seed=50)
    seen: list[Progress] = []
    path = train(options(tmp_path, tmp_path, epochs=1, landmarks=14, recipe=recipe), seen.append)
    read = load_checkpoint(path)
    assert read.spec.scheme.name == "lsp14"
    assert read.spec.task == "pose"
    assert seen[-1].unit == "% of torso"
    assert seen[-1].nme is not None
    assert np.isfinite(seen[-1].nme)
    assert all(torch.isfinite(p).all() for p in read.model.parameters())


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_annotated_teaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    """The gradient of an output without a target is zero, in the form in which the loop computes it."""
    output = torch.randn(2, 3, 8, 8, requires_grad=True)
    uv = torch.tensor([[[2.0, 3], [torch.nan, torch.nan], [5, 1]], [[1, 1], [4, 4], [torch.nan, 2]]])
    known = torch.isfinite(uv).all(-1)[..., None, None]
    target = gaussian_maps(uv, 8, 8, 1.0)
    assert torch.isfinite(target).all()
    LOSSES[loss](torch.where(known, output, target), target).backward()
    assert output.grad is not None
    assert (output.grad.abs().amax((2, 3)) > 0).tolist() == known[..., 0, 0].tolist()


def test_samples_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_faces(tmp_path / "train", 4)
    write_faces(tmp_path / "val", 2, seed=50)
    (tmp_path / "train" / "1.png").write_bytes(b"no image")
    (tmp_path / "train" / "2.pts").unlink()
    with pytest.raises(UsageError, match=r"2\.png: has no annotation 2\.pts; mend it, or .*--bad skip"):
        train(options(tmp_path, tmp_path, epochs=1))
    assert not (tmp_path / "out.pt").exists()
    left: list[Sequence[Fault]] = []
    path = train(options(tmp_path, tmp_path, epochs=1, bad="skip"), told=left.append)
    assert path.is_file()
    assert [fault.path.name for fault in left[0]] == ["2.png", "1.png"]


def test_nothing_left(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_faces(tmp_path / part, 1)
        (tmp_path / part / "0.png").write_bytes(b"")
    with pytest.raises(UsageError, match="train holds no sample that can be used"):
        train(options(tmp_path, tmp_path, epochs=1, bad="skip"))


def test_a_scheme_without_a_metric_is_refused_before_the_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path / "train", 2)
    write_faces(tmp_path / "val", 1)
    monkeypatch.setattr(module, "_epoch", lambda *_: pytest.fail("it began to train"))
    with pytest.raises(UsageError, match="landmarks"):
        train(options(tmp_path, tmp_path, epochs=1, landmarks=5))
