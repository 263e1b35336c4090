"""The loss of mirrored images, one-hot targets, and the "sdu" recipe that trains with both."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from nets import write_faces

from edgelm.decode import decode, to_crop, to_map
from edgelm.errors import UsageError
from edgelm.models.coherence import coherent_loss, with_mirrored, with_mirrored_maps
from edgelm.models.create import default_spec
from edgelm.models.losses import gaussian_maps, get_loss
from edgelm.models.quantizers import QuantScheme
from edgelm.models.recipes import get_recipe
from edgelm.models.registry import SDU_FAMILY, Entry, resolve
from edgelm.models.sdu import SDUConfig
from edgelm.models.train import Progress, TrainOptions, train
from edgelm.schemes import flip_permutation, get_scheme

SWAP = (1, 0, 2)


def test_mirrored_maps_cost_nothing() -> None:
    maps = with_mirrored_maps(torch.randn(3, 3, 5, 7), SWAP)
    assert maps.shape == (6, 3, 5, 7)
    assert float(coherent_loss(maps, SWAP)) == 0
    assert float(coherent_loss(maps, (0, 1, 2))) > 1, "left and right are not swapped"
    assert float(coherent_loss(torch.cat([maps[:3], maps[3:].flip(3)]), SWAP)) > 1, "not mirrored"


@pytest.mark.parametrize(("distance", "expected"), [("l2", 4.0 + 0.25), ("smooth_l1", 1.5 + 0.125)])
def test_one_difference(distance: str, expected: float) -> None:
    """2 and 0.5 apart in two pixels of one of two images' three maps."""
    maps = with_mirrored_maps(torch.randn(2, 3, 5, 7), SWAP)
    maps[3, 1, 2, 3] += 2
    maps[3, 1, 0, 0] -= 0.5
    assert float(coherent_loss(maps, SWAP, distance)) == pytest.approx(expected / 6)


def test_both_halves_learn() -> None:
    maps = torch.randn(4, 3, 5, 7, requires_grad=True)
    coherent_loss(maps, SWAP).backward()
    assert maps.grad is not None
    assert maps.grad.any(dim=-1).all()


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"as many mirror images, 3 each, got \(3, 3, 2, 2\)"):
        coherent_loss(torch.zeros(3, 3, 2, 2), SWAP)
    with pytest.raises(UsageError, match="3 each, got"):
        coherent_loss(torch.zeros(2, 4, 2, 2), SWAP)
    with pytest.raises(UsageError, match="no distance 'l1'; known are l2, smooth_l1"):
        coherent_loss(torch.zeros(2, 3, 2, 2), SWAP, "l1")


def test_targets_of_mirrored_faces_are_mirrored_targets() -> None:
    """By the landmarks: x from the other side, left and right swapped."""
    permutation = list(flip_permutation(get_scheme("300w68")))
    uv = torch.rand(2, 68, 2) * torch.tensor([8.0, 6.0])
    mirrored = (torch.tensor([8.0, 0.0]) + uv * torch.tensor([-1.0, 1.0]))[:, permutation]
    for sigma in (0.0, 1.5):
        both = with_mirrored_maps(gaussian_maps(uv, 6, 8, sigma), permutation)
        torch.testing.assert_close(both, gaussian_maps(torch.cat([uv, mirrored]), 6, 8, sigma))
    image = torch.rand(2, 3, 4, 5)
    assert torch.equal(with_mirrored(image), torch.cat([image, image.flip(3)]))


def test_one_hot_targets() -> None:
    uv = torch.tensor([[[0.0, 0.0], [7.99, 5.99], [2.5, 3.0], [-0.1, 3.0], [8.0, 1.0], [float("nan"), 1.0]]])
    maps = gaussian_maps(uv, 6, 8, 0)[0]
    assert [tuple(cell) for cell in maps.nonzero().tolist()] == [(0, 0, 0), (1, 5, 7), (2, 3, 2)]
    assert maps.max() == 1
    sharp = torch.where(maps > 0, 100.0, 0.0)[None]
    assert float(get_loss("softmax")(sharp, maps[None])) == pytest.approx(0, abs=1e-6)
    assert float(get_loss("softmax")(torch.zeros(1, 6, 6, 8), maps[None])) == pytest.approx(np.log(48))


@pytest.mark.parametrize("rule", ["center", "index", "resize_argmax"])
def test_a_learned_target_is_read_where_the_landmark_was(rule: Any) -> None:
    """Landmarks in the middle of cells come back, by every decoding rule."""
    spec = dataclasses.replace(default_spec(resolve("sdu-sat3"), 128), decode=rule)
    cells = np.random.default_rng(0).integers(4, 60, (1, 68, 2))
    maps = gaussian_maps(torch.tensor(cells + 0.5, dtype=torch.float32), 64, 64, 2.0).numpy()
    uv, _ = decode(maps, rule)
    # 128 px have no pixel in the middle of one of 64: the argmax is one beside it.
    near = 0.5 if rule == "resize_argmax" else 1e-4
    assert np.abs(to_map(to_crop(uv, spec), spec) - cells - 0.5).max() <= near
    xy = np.random.default_rng(1).uniform(20, 100, (1, 68, 2))
    maps = gaussian_maps(torch.from_numpy(to_map(xy, spec)).float(), 64, 64, 2.0).numpy()
    error = to_crop(decode(maps, rule)[0], spec) - xy
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.15, "a bias of a quarter pixel is a convention mixed up"


def test_the_recipe_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("tiny", SDU_FAMILY, SDUConfig("sat3", "hpm", 1, 1, 2, rotate=True, width=16, side=32), QuantScheme())
    monkeypatch.setattr("edgelm.models.create.resolve", {"tiny": entry}.__getitem__)
    write_faces(tmp_path / "train", 4)
    write_faces(tmp_path / "val", 2, seed=9)
    seen: list[Progress] = []
    given = TrainOptions("tiny", tmp_path, tmp_path / "out.pt", recipe="sdu", epochs=6, batch=4, size=32)
    train(given, seen.append)
    losses = [p.loss for p in seen if p.step]
    assert losses[-1] < losses[0]
    recipe = get_recipe("sdu")
    assert (recipe.loss, recipe.sigma, recipe.coherence) == ("softmax", 0.0, 1e-3)
