"""Refinements beside the field's rules, the enlarged maps of `resize_argmax`, and decoding with numpy alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples
from test_geometry import gaussian

from edgelm import decode, enlarge
from edgelm.errors import PackageMissingError, UsageError
from edgelm.refine import Refine, around, refine
from edgelm.spec import Decode, Score

RULES: tuple[Decode, ...] = ("center", "index", "resize_argmax")
UNIT: dict[str, tuple[float, float]] = {"center": (1, 0.5), "index": (1, 0), "resize_argmax": (2, 0.5)}
"""Of each rule on 64 px: units per pixel, and where the middle of pixel 0 lies."""
places = st.tuples(st.floats(8, 55), st.floats(8, 55))


def decoded(maps: np.ndarray, rule: Decode, refinement: Refine, score: Score = "max") -> np.ndarray:
    """The point (2,) in heatmap px, the middle of pixel 0 at 0."""
    uv = decode.decode(maps[None, None], rule, score, refinement=refinement)[0][0, 0]
    scale, first = UNIT[rule]
    point: np.ndarray = (uv.astype(float) - first) / scale
    return point


@given(at=places, sigma=st.floats(1, 2.5), rule=st.sampled_from(RULES))
@settings(deadline=None, max_examples=examples(60))
def test_dark_is_exact_for_gaussians(at: tuple[float, float], sigma: float, rule: Decode) -> None:
    # Not quite, for the smoothing is over 11 px: what the cut off tails weigh.
    np.testing.assert_allclose(decoded(gaussian(64, 64, *at, sigma=sigma), rule, "dark"), at, atol=0.02)


@given(at=places, sigma=st.floats(1, 2), rule=st.sampled_from(RULES))
@settings(deadline=None, max_examples=examples(60))
def test_the_mean_position_is_nearer_than_the_pixel(at: tuple[float, float], sigma: float, rule: Decode) -> None:
    # The window is centred on the pixel, so what its edge cuts off pulls towards the middle: at 2 sigma by a quarter.
    found = decoded(gaussian(64, 64, *at, sigma=sigma), rule, "soft_argmax")
    assert np.abs(found - at).max() < 0.2


@pytest.mark.parametrize("refinement", ["soft_argmax", "dark"])
@pytest.mark.parametrize("score", ["sigmoid_max", "softmax_near"])
def test_logits(score: Score, refinement: Refine) -> None:
    mass = np.maximum(gaussian(64, 64, 20.3, 30.6), 1e-6)
    logits = np.log(mass) if score == "softmax_near" else np.log(mass / (1.001 - mass))
    np.testing.assert_allclose(decoded(logits, "center", refinement, score), (20.3, 30.6), atol=0.12)


@pytest.mark.parametrize("rule", RULES)
def test_none_is_the_pixel_itself(rule: Decode) -> None:
    np.testing.assert_allclose(decoded(gaussian(64, 64, 20.3, 30.6), rule, "none"), (20, 31))


@pytest.mark.parametrize("refinement", ["soft_argmax", "dark"])
@pytest.mark.parametrize("at", [(0, 0), (63, 0), (31, 63), (63, 63)])
def test_peaks_at_the_border(refinement: Refine, at: tuple[int, int]) -> None:
    found = decoded(gaussian(64, 64, *at), "center", refinement)
    assert np.abs(found - at).max() <= 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize("refinement", ["soft_argmax", "dark"])
def test_what_does_not_curve_stays(refinement: Refine) -> None:
    flat = np.ones((9, 9), np.float32)
    assert np.abs(decoded(flat, "index", refinement) - 0).max() <= 1, "the first pixel of a flat map is its corner"
    spike = np.zeros((64, 64), np.float32)
    spike[20, 20] = 3e38
    np.testing.assert_allclose(decoded(spike, "index", refinement), (20, 20), atol=1e-6)
    uv, _ = decode.decode(np.full((1, 1, 8, 6), np.nan, np.float32), "index", refinement=refinement)
    np.testing.assert_array_equal(uv, [[[3, 4]]])


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    way=st.sampled_from(["soft_argmax", "dark"]),
)
@settings(deadline=None, max_examples=examples(60))
def test_any_map_stays_within_a_pixel(seed: int, shape: tuple[int, int], way: Refine) -> None:
    maps = np.random.RandomState(seed).randn(2, 3, *shape).astype(np.float32)
    plain, _ = decode.decode(maps, "center", refinement="none")
    uv, _ = decode.decode(maps, "center", refinement=way)
    assert np.abs(uv - plain).max() <= 1


def test_the_mean_of_a_plain_loop() -> None:
    maps = np.random.RandomState(0).rand(20, 7, 9).astype(np.float32)
    y, x = np.divmod(maps.reshape(20, -1).argmax(-1), 9)
    wanted = []
    for one, cx, cy in zip(maps.astype(float), x, y, strict=True):
        near = [(r, c) for r in range(7) for c in range(9) if abs(r - cy) <= 3 and abs(c - cx) <= 3]
        total = sum(one[r, c] for r, c in near)
        wanted.append([sum(one[r, c] * (c - cx) for r, c in near), sum(one[r, c] * (r - cy) for r, c in near)] / total)
    np.testing.assert_allclose(refine(maps, x, y, "soft_argmax", lambda v: v), np.clip(wanted, -1, 1), atol=1e-12)


def test_around() -> None:
    maps = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    values, inside = around(maps, np.array([0]), np.array([1]), 1)
    np.testing.assert_array_equal(inside[0], [[False, True, True]] * 3)
    np.testing.assert_array_equal(values[0][:, 1:], [[0, 1], [4, 5], [8, 9]])


def test_unknown_ways() -> None:
    with pytest.raises(UsageError, match="unknown refinement 'best'; known are rule, none, soft_argmax, dark"):
        decode.decode(np.zeros((1, 1, 8, 8), np.float32), "center", refinement="best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"expected heatmaps \(N, K, h, w\), got \(8, 8\)"):
        decode.decode(np.zeros((8, 8), np.float32), "center")


@given(seed=st.integers(0, 2**32 - 1), h=st.integers(1, 130), w=st.integers(1, 130))
@settings(deadline=None, max_examples=examples(40))
def test_enlarging_with_numpy_is_opencvs(seed: int, h: int, w: int) -> None:
    maps = np.random.RandomState(seed).randn(2, h, w).astype(np.float32)
    # Both add four products of float32; their order differs.
    np.testing.assert_allclose(enlarge.enlarge_numpy(maps, 128), enlarge.enlarge(maps, 128), atol=3e-6)
    large = np.stack([cv2.resize(one, (128, 128), interpolation=cv2.INTER_LINEAR) for one in maps])
    np.testing.assert_array_equal(enlarge.enlarge(maps, 128), large)
    y, x = np.divmod(large.reshape(2, -1).argmax(-1), 128)
    np.testing.assert_array_equal(enlarge.enlarged_peak(maps, 128), (x, y))


def test_all_rules_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = np.random.RandomState(1).rand(2, 5, 64, 48).astype(np.float32)
    wanted = [decode.decode(maps, rule) for rule in RULES]

    def missing() -> None:
        raise PackageMissingError("no OpenCV")

    monkeypatch.setattr(enlarge, "import_cv2", missing)
    for rule, (uv, score) in zip(RULES, wanted, strict=True):
        found = decode.decode(maps, rule)
        np.testing.assert_array_equal(found[0], uv)
        np.testing.assert_array_equal(found[1], score)
