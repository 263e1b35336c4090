"""Annotations, training samples, targets and metrics mean the same places as the runtime's crops and decoding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import draw_face, random_face, write_faces, write_pts
from numpy.typing import NDArray

from edgelm import geometry
from edgelm.decode import decode
from edgelm.errors import UsageError
from edgelm.models.augment import Augmentation, make_batch
from edgelm.models.create import default_spec
from edgelm.models.data import Sample, load_folder, read_pts, tight_box
from edgelm.models.losses import gaussian_maps, get_loss
from edgelm.models.metrics import nme, normalizers
from edgelm.models.registry import resolve
from edgelm.schemes import flip_permutation, get_scheme
from edgelm.spec import LandmarkScheme

SPEC = default_spec(resolve("cunet2"), 64)
STRONG = Augmentation((0.75, 1.25), 30.0, 0.1, True, 0.3)


def sample(xy: NDArray[np.float32]) -> Sample:
    return Sample(Path("unused.png"), xy, tight_box(xy))


def test_pts_counts_from_one(tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_text("version: 1\nn_points:  2\n{\n1 1\n30.5 7.25\n}\n")
    np.testing.assert_array_equal(read_pts(tmp_path / "a.pts"), [[0, 0], [29.5, 6.25]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n_points: 2",
        "n_points:",
        "n_points: two\n{\n1 1\n}",
        "n_points: 2\n{\n1 1\n}",
        "n_points: 1\n{\n1 1\n2 2\n}",
        "n_points: 1\n{\n1 nan\n}",
        "n_points: 1\n{\n1 inf\n}",
        "n_points: 1\n{\n1 x\n}",
        "n_points: 1\n{\n1 1",
        "n_points: -1\n{\n}",
        "\0\1\2",
    ],
)
def test_damaged_pts(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_text(text)
    with pytest.raises(UsageError, match=r"a\.pts"):
        read_pts(tmp_path / "a.pts")


def test_binary_pts(tmp_path: Path) -> None:
    (tmp_path / "a.pts").write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match=r"not a \.pts file"):
        read_pts(tmp_path / "a.pts")


def test_folder(tmp_path: Path) -> None:
    write_faces(tmp_path / "train", 3)
    (tmp_path / "train" / "0.txt").write_text("other files are left alone")
    (tmp_path / "train" / "2.pts").unlink()
    samples = load_folder(tmp_path / "train", 68)
    assert [s.path.name for s in samples] == ["0.png", "1.png"]
    xy = random_face(1)[1]
    np.testing.assert_allclose(samples[1].xy, xy, atol=1e-5)
    np.testing.assert_array_equal(samples[1].box, [*samples[1].xy.min(0), *samples[1].xy.max(0)])


def test_unusable_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        load_folder(tmp_path / "none", 68)
    with pytest.raises(UsageError, match=r"no image with a \.pts"):
        load_folder(tmp_path, 68)
    (tmp_path / "a.png").touch()
    write_pts(tmp_path / "a.pts", np.zeros((5, 2), np.float32))
    with pytest.raises(UsageError, match="68 landmarks, the file 5"):
        load_folder(tmp_path, 68)


def test_batch_is_seeded() -> None:
    image, xy = random_face(0)
    batches = [make_batch([image] * 2, [sample(xy)] * 2, SPEC, STRONG, seeds)
               for seeds in ([[1, 0, 0], [1, 0, 1]], [[1, 0, 0], [1, 0, 1]], [[1, 1, 0], [1, 0, 1]])]  # fmt: skip
    for a, b, c in zip(*batches, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a[1], c[1])
        assert not np.array_equal(a[0], c[0])
        assert not np.array_equal(a[0], a[1])


def test_no_augmentation_is_the_runtime_crop() -> None:
    image, xy = random_face(0)
    x, points = make_batch([image], [sample(xy)], SPEC, Augmentation(), [[0]])
    matrix = geometry.crop_matrix(tight_box(xy)[None], SPEC.crop, 64, 64)[0]
    crop = geometry.warp(image, matrix, 64, 64, first_pixel=geometry.first_pixel(SPEC.decode))
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x[0].transpose(1, 2, 0), geometry.normalize(crop, SPEC.input))
    np.testing.assert_allclose(points[0], geometry.apply(matrix, xy), atol=1e-4)


def test_scale_enlarges_the_face() -> None:
    image, xy = random_face(0)
    plain, large = (
        make_batch([image], [sample(xy)], SPEC, Augmentation(scale=(factor, factor)), [[0]])[1][0]
        for factor in (1.0, 1.25)
    )
    np.testing.assert_allclose(large - 32, 1.25 * (plain - 32), atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_changes_stay_in_their_ranges(seed: int) -> None:
    """The similarity between the plain and the changed landmarks has a scale, an angle and a shift as asked for."""
    image, xy = random_face(0)
    augmentation = Augmentation((0.75, 1.25), 30.0, 0.1)
    plain, changed = (
        make_batch([image], [sample(xy)], SPEC, given, [[seed]])[1][0] for given in (Augmentation(), augmentation)
    )
    a, b = (points @ np.array([1, 1j]) for points in (plain - 32, changed - 32))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    shift = (b - turn * a).mean() / turn  # px of the plain crop
    side = 64 / SPEC.crop.factor
    assert 0.749 <= abs(turn) <= 1.251
    assert abs(np.degrees(np.angle(turn))) <= 30.01
    assert max(abs(shift.real), abs(shift.imag)) <= 0.1 * side + 1e-3


def test_flip_swaps_pairs_and_mirrors() -> None:
    image, xy = random_face(0)
    plain_x, plain = make_batch([image], [sample(xy)], SPEC, Augmentation(), [[0]])
    seeds = [[i] for i in range(16)]
    x, points = make_batch([image] * 16, [sample(xy)] * 16, SPEC, Augmentation(flip=True), seeds)
    order = list(flip_permutation(SPEC.scheme))
    mirrored = plain[0][order] * [-1, 1] + [64, 0]
    flipped = [bool(np.allclose(p, mirrored, atol=1e-3)) for p in points]
    assert 3 < sum(flipped) < 13
    for one, found, was_flipped in zip(x, points, flipped, strict=True):
        if was_flipped:
            # The warp resamples: fractions of a pixel are rounded to 1/32.
            assert np.abs(one - plain_x[0][:, :, ::-1]).mean() < 0.01
        else:
            np.testing.assert_array_equal(one, plain_x[0])
            np.testing.assert_array_equal(found, plain[0])


def brightest(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centroid (x, y), in pixel numbers, of what is brighter than the grey of `draw_face`; x is (3, H, W)."""
    light = np.clip(x.sum(axis=0, dtype=np.float64) - 3 * 60 / 255 - 0.1, 0, None)
    H, W = light.shape
    centroid: NDArray[np.float64] = (
        np.array([light.sum(axis=0) @ np.arange(W), light.sum(axis=1) @ np.arange(H)]) / light.sum()
    )
    return centroid


ONE_POINT = replace(SPEC, scheme=LandmarkScheme("points5", tuple("abcde"), flip_pairs=((0, 1),), contours=()))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.75, 1.3), which=st.integers(0, 4), flip=st.booleans())
def test_landmarks_follow_the_image(seed: int, scale: float, which: int, flip: bool) -> None:
    """A dot drawn at a landmark is found at that landmark of the crop."""
    corners = np.array([[40, 40], [90, 45], [65, 66], [42, 88], [90, 92]], np.float32)
    image = draw_face(corners[which : which + 1], 130)
    augmentation = Augmentation((0.9 * scale, 1.1 * scale), 30.0, 0.05, flip)
    x, points = make_batch([image], [sample(corners)], ONE_POINT, augmentation, [[seed]])
    mirrored = {0: 1, 1: 0}.get(which, which)
    assume(all(4 < v < 60 for i in (which, mirrored) for v in points[0, i]))  # the whole dot is in the crop
    distance = np.linalg.norm(points[0] - brightest(x[0]) - 0.5, axis=1)
    assert distance.min() < 0.3
    assert distance.argmin() in ({which, mirrored} if flip else {which})


@pytest.mark.parametrize("side", [64, 128])
def test_pixels_of_the_other_family(side: int) -> None:
    """Networks read with `index` have pixel j at j: their crops are shifted by half a pixel."""
    image = draw_face(np.array([[32, 32]], np.float32), 64)
    xy = np.array([[10, 10], [32, 32], [54, 54]], np.float32)
    spec = replace(SPEC, scheme=LandmarkScheme("points3", tuple("abc"), (), ()), decode="index")
    spec = replace(spec, input=replace(spec.input, height=side, width=side))
    x, points = make_batch([image], [sample(xy)], spec, Augmentation(), [[0]])
    np.testing.assert_allclose(brightest(x[0]), points[0, 1], atol=0.1)


def test_colour_stays_in_range_and_leaves_landmarks() -> None:
    image, xy = random_face(0)
    plain, points = make_batch([image], [sample(xy)], SPEC, Augmentation(), [[3]])
    x, same = make_batch([image], [sample(xy)], SPEC, Augmentation(colour=0.9), [[3]])
    np.testing.assert_array_equal(points, same)
    assert not np.array_equal(plain, x)
    assert x.min() >= 0
    assert x.max() <= 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 15.99), st.floats(0, 11.99)), min_size=1, max_size=4), st.sampled_from([0.8, 1, 2])
)
def test_gaussian_peaks_decode_to_their_landmarks(points: list[tuple[float, float]], sigma: float) -> None:
    uv = torch.tensor([points])
    maps = gaussian_maps(uv, 12, 16, sigma)
    assert maps.shape == (1, len(points), 12, 16)
    found, score = decode(maps.numpy(), "center")
    inner = ((uv > 1) & (uv < torch.tensor([15.0, 11.0]))).all(-1).numpy()
    # A quarter pixel is what the rule can say; at the border it refines nothing.
    assert np.abs(found - uv.numpy())[inner].max(initial=0) <= 0.25 + 1e-4
    assert np.abs(found - uv.numpy()).max() <= 0.5 + 1e-4
    assert (score > np.exp(-0.25 / sigma**2) - 1e-4).all()


def test_gaussian_values() -> None:
    maps = gaussian_maps(torch.tensor([[[2.5, 1.5]]]), 4, 5, 3 / 2**0.5)[0, 0]
    assert maps[1, 2] == 1
    assert maps[3, 4] == pytest.approx(np.exp(-8 / 9), rel=1e-6)


@pytest.mark.parametrize("outside", [(-0.1, 5.0), (5.0, -0.1), (16.0, 5.0), (5.0, 12.0), (float("nan"), 5.0)])
def test_landmarks_outside_have_no_map(outside: tuple[float, float]) -> None:
    maps = gaussian_maps(torch.tensor([[outside, (5.0, 5.0)]]), 12, 16, 1.0)
    assert not maps[0, 1].isnan().any()
    if outside[0] == outside[0]:
        assert maps[0, 0].abs().sum() == 0
    assert maps[0, 1].sum() > 5


@pytest.mark.parametrize("name", ["mse", "softmax"])
def test_loss_is_smallest_at_the_target(name: str) -> None:
    target = gaussian_maps(torch.tensor([[[3.2, 4.1], [7.0, 2.0]]]), 8, 10, 1.0)
    best = target if name == "mse" else target.clamp_min(1e-30).log()
    loss = get_loss(name)
    torch.manual_seed(0)
    for _ in range(20):
        assert loss(best + 0.3 * torch.randn_like(best), target) > loss(best, target)
    if name == "softmax":  # the entropy of the target, so by Gibbs no output can do better
        share = target / target.sum((2, 3), keepdim=True)
        entropy = -(share * share.clamp_min(1e-30).log()).sum((2, 3)).mean()
        assert loss(best, target) == pytest.approx(float(entropy), rel=1e-4)


def test_softmax_loss_ignores_maps_without_target() -> None:
    target = gaussian_maps(torch.tensor([[[3.0, 4.0], [-5.0, 2.0]]]), 8, 10, 1.0)
    output = torch.randn(1, 2, 8, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = get_loss("softmax")(output, target)
    assert float(loss.detach()) == pytest.approx(float(get_loss("softmax")(output[:, :1], target[:, :1]).detach()))
    loss.backward()
    assert output.grad is not None
    assert output.grad[0, 0].abs().sum() > 0
    assert output.grad[0, 1].abs().sum() == 0


@pytest.mark.parametrize("name", ["mse", "softmax"])
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_gradient_is_finite(name: str, size: float) -> None:
    output = (torch.randn(1, 2, 8, 10, generator=torch.Generator().manual_seed(0)) * size).requires_grad_()
    for target in (torch.zeros(1, 2, 8, 10), gaussian_maps(torch.tensor([[[0.0, 0.0], [9.9, 7.9]]]), 8, 10, 1.0)):
        get_loss(name)(output, target).backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_nme_by_hand() -> None:
    truth = np.zeros((2, 68, 2), np.float32)
    truth[:, 45] = [30, 40]  # 50 px from landmark 36
    found = truth.copy()
    found[0] += [3, 4]
    found[1, 7] += [0, 34]
    np.testing.assert_allclose(normalizers(truth, "300w68"), [50, 50])
    np.testing.assert_allclose(nme(found, truth, "300w68"), [10, 1])


@pytest.mark.parametrize(("scheme", "eyes"), [("300w68", (36, 45)), ("wflw98", (60, 72)), ("cofw29", (8, 9))])
def test_eye_corners_mirror_each_other(scheme: str, eyes: tuple[int, int]) -> None:
    order = flip_permutation(get_scheme(scheme))
    assert order[eyes[0]] == eyes[1]
    truth = np.zeros((1, len(order), 2))
    truth[0, eyes[0]] = [0, 9]
    assert normalizers(truth, scheme) == [9]


def test_scheme_without_metric() -> None:
    with pytest.raises(UsageError, match="known are 300w68"):
        normalizers(np.zeros((1, 16, 2)), "mpii16")


def test_unknown_loss_lists_the_known() -> None:
    with pytest.raises(UsageError, match="known are mse, softmax"):
        get_loss("l1")
