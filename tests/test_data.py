"""Annotations and training samples mean the same places as the runtime's crops and decoding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nets import draw_face, random_face, write_faces, write_pts
from numpy.typing import NDArray

from edgelm import geometry
from edgelm.errors import UsageError
from edgelm.models.augment import Augmentation, make_batch
from edgelm.models.create import default_spec
from edgelm.models.data import Sample, tight_box
from edgelm.models.datasets import open_data
from edgelm.models.datasets.pts import read_pts
from edgelm.models.faults import Faults
from edgelm.models.registry import resolve
from edgelm.schemes import flip_permutation, get_scheme
from edgelm.spec import LandmarkScheme

SPEC = default_spec(resolve("cunet2"), 64)
FACE = get_scheme("300w68")
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
    faults = Faults("skip")
    form, samples = open_data(tmp_path / "train", FACE, faults=faults)
    assert form.name == "pts"
    assert [f.path.name for f in faults.found] == ["2.png"]
    assert [s.path.name for s in samples] == ["0.png", "1.png"]
    xy = random_face(1)[1]
    np.testing.assert_allclose(samples[1].xy, xy, atol=1e-5)
    np.testing.assert_array_equal(samples[1].box, [*samples[1].xy.min(0), *samples[1].xy.max(0)])


def test_unusable_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no"):
        open_data(tmp_path / "none", FACE, "pts")
    with pytest.raises(UsageError, match="holds no annotation of a known format"):
        open_data(tmp_path, FACE, "pts")
    write_pts(tmp_path / "a.pts", np.zeros((5, 2), np.float32))
    with pytest.raises(UsageError, match="holds no sample that can be used"):
        open_data(tmp_path, FACE, "pts")
    (tmp_path / "a.png").touch()
    with pytest.raises(UsageError, match="has 5 landmarks, the network 68"):
        open_data(tmp_path, FACE, "pts")


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
