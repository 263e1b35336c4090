"""Decode rules: the exact vectors of the field's codes, their borders, and every kind of broken heatmap."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm import decode, geometry
from edgelm.schemes import get_scheme
from edgelm.spec import CropSpec, Decode, InputSpec, ModelSpec, Score

RULES: tuple[Decode, ...] = ("center", "index", "resize_argmax")


def maps(h: int, w: int, values: dict[tuple[int, int], float], rest: float = 0.0) -> np.ndarray:
    heatmap = np.full((1, 1, h, w), rest, np.float32)
    for (row, column), value in values.items():
        heatmap[0, 0, row, column] = value
    return heatmap


PAPER = {(20, 10): 1.0, (20, 11): 0.6, (20, 9): 0.5, (19, 10): 0.7, (21, 10): 0.2}


def to_image(
    heatmap: np.ndarray, rule: Decode, box: Sequence[float], height: int, width: int, aspect: float
) -> np.ndarray:
    spec = ModelSpec(
        name="test",
        task="face",
        scheme=get_scheme("lsp14"),
        input=InputSpec(height, width),
        crop=CropSpec("exact", factor=1.0, aspect=aspect),
        heatmap_height=heatmap.shape[2],
        heatmap_width=heatmap.shape[3],
        decode=rule,
    )
    matrix = geometry.crop_matrix(np.array([box]), spec.crop, height, width)
    xy: np.ndarray = decode.to_image(decode.decode(heatmap, rule)[0], matrix, spec)[0, 0]
    return xy


@pytest.mark.parametrize(("s", "wanted"), [(1.0, (33.59375, 83.28125)), (1.6, (-6.25, 61.25))])
def test_center_vector(s: float, wanted: tuple[float, float]) -> None:
    box = [100 - 100 * s, 120 - 100 * s, 100 + 100 * s, 120 + 100 * s]
    np.testing.assert_allclose(to_image(maps(64, 64, PAPER), "center", box, 256, 256, 1.0), wanted, rtol=1e-6)


def test_index_vector() -> None:
    box = [100 - 75, 120 - 100, 100 + 75, 120 + 100]
    xy = to_image(maps(64, 48, PAPER), "index", box, 256, 192, 0.75)
    np.testing.assert_allclose(xy, (57.03125, 81.71875), rtol=1e-6)


def test_resize_argmax_vector() -> None:
    # Right (.6) beats left (.5), upper (.7) beats lower (.2): of the four samples around the peak the upper right one.
    uv, score = decode.decode(maps(64, 64, PAPER), "resize_argmax")
    np.testing.assert_array_equal(uv, [[[21, 40]]])
    np.testing.assert_array_equal(score, [[1]])


@pytest.mark.parametrize(
    ("rule", "at", "offset"),
    [
        ("center", 1, 0.25),
        ("index", 1, 0.0),
        ("index", 2, 0.25),
        ("center", 62, 0.25),
        ("index", 62, 0.25),
        ("center", 0, 0.0),
        ("index", 0, 0.0),
        ("center", 63, 0.0),
        ("index", 63, 0.0),
    ],
)
def test_refinement_at_the_border(rule: Decode, at: int, offset: float) -> None:
    values = {(at, at): 1.0}
    if at < 63:
        values |= {(at, at + 1): 0.5, (at + 1, at): 0.5}
    uv, _ = decode.decode(maps(64, 64, values), rule)
    np.testing.assert_array_equal(uv[0, 0], np.full(2, at + offset + (0.5 if rule == "center" else 0.0)))


@pytest.mark.parametrize(("row", "column"), [(0, 30), (30, 0), (63, 30), (30, 63)])
def test_both_axes_are_refined_or_none(row: int, column: int) -> None:
    values = {(row, column): 1.0, (min(row + 1, 63), column): 0.5, (row, min(column + 1, 63)): 0.5} | {
        (row, column): 1.0
    }
    uv, _ = decode.decode(maps(64, 64, values), "center")
    np.testing.assert_array_equal(uv[0, 0], (column + 0.5, row + 0.5))


@pytest.mark.parametrize("rule", RULES)
def test_x_is_the_column(rule: Decode) -> None:
    uv, _ = decode.decode(maps(64, 32, {(40, 10): 1.0}), rule)
    x, y = uv[0, 0] * ((0.25, 0.5) if rule == "resize_argmax" else (1, 1))
    assert abs(x - 10) < 1
    assert abs(y - 40) < 1


@pytest.mark.parametrize("rule", ["center", "index"])
def test_a_tie_goes_to_the_first_in_row_major_order(rule: Decode) -> None:
    uv, _ = decode.decode(maps(8, 8, {(2, 5): 1.0, (5, 2): 1.0}), rule)
    np.testing.assert_array_equal(np.floor(uv[0, 0]), (5, 2))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("fill", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_a_map_without_a_point_gives_the_middle_and_no_score(rule: Decode, fill: float) -> None:
    heatmap = np.full((1, 2, 64, 48), fill, np.float32)
    uv, score = decode.decode(heatmap, rule)
    assert np.isfinite(score).all()
    assert (score <= 0).all()
    wanted = (64, 64) if rule == "resize_argmax" else (24, 32)
    np.testing.assert_array_equal(uv, np.broadcast_to(wanted, (1, 2, 2)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_never_win(rule: Decode, bad: float) -> None:
    clean = maps(64, 64, PAPER)
    dirty = maps(64, 64, {**PAPER, (3, 3): bad, (50, 60): bad, (0, 0): bad})
    np.testing.assert_array_equal(decode.decode(dirty, rule)[0], decode.decode(clean, rule)[0])


def test_the_input_is_not_changed() -> None:
    heatmap = maps(8, 8, {(3, 3): np.nan, (4, 4): 1.0})
    before = heatmap.copy()
    decode.decode(heatmap, "center")
    np.testing.assert_array_equal(heatmap, before)


def test_scores() -> None:
    heatmap = maps(4, 4, {(1, 2): np.log(3.0)})
    assert decode.decode(heatmap, "center", "max")[1][0, 0] == pytest.approx(np.log(3.0))
    assert decode.decode(heatmap, "center", "sigmoid_max")[1][0, 0] == pytest.approx(0.75)
    # The window of 5 x 5 px is cut off by the upper border: 4 rows of 5, the peak among them, of 8 rows of 9.
    wide = maps(8, 9, {(1, 2): np.log(3.0)})
    assert decode.decode(wide, "center", "softmax_near")[1][0, 0] == pytest.approx((19 + 3) / (71 + 3))


@pytest.mark.parametrize("score", ["sigmoid_max", "softmax_near"])
def test_logits_below_zero_are_points_too(score: Score) -> None:
    heatmap = maps(8, 8, {(3, 4): -1.0, (3, 5): -2.0, (4, 4): -2.0}, rest=-5.0)
    uv, value = decode.decode(heatmap, "center", score)
    np.testing.assert_array_equal(uv[0, 0], (4.75, 3.75))
    assert 0 < value[0, 0] < 1


@pytest.mark.parametrize("score", ["max", "sigmoid_max", "softmax_near"])
def test_huge_values_do_not_overflow(score: Score) -> None:
    heatmap = maps(8, 8, {(3, 4): 3e38, (3, 5): -3e38, (3, 3): 3e37}, rest=-3e38)
    uv, value = decode.decode(heatmap, "index", score)
    np.testing.assert_array_equal(uv[0, 0], (3.75, 3))
    assert np.isfinite(value).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    first=st.sampled_from([("center", 1, 0.5), ("index", 2, 0.0)]),
)
@settings(deadline=None)
def test_equals_the_plain_loop(seed: int, shape: tuple[int, int, int, int], first: tuple[Decode, int, float]) -> None:
    rule, border, half = first
    heatmaps = np.random.RandomState(seed).randint(0, 4, shape).astype(np.float32)
    uv, score = decode.decode(heatmaps, rule)
    N, K, h, w = shape
    for n in range(N):
        for k in range(K):
            one = heatmaps[n, k]
            iy, ix = divmod(int(one.argmax()), w)
            x, y = ix + half, iy + half
            if border <= ix <= w - 2 and border <= iy <= h - 2:
                x += 0.25 * np.sign(one[iy, ix + 1] - one[iy, ix - 1])
                y += 0.25 * np.sign(one[iy + 1, ix] - one[iy - 1, ix])
            if one.max() <= 0:
                x, y = w / 2, h / 2
            np.testing.assert_array_equal(uv[n, k], np.array((x, y), np.float32))
            assert score[n, k] == one.max()


@pytest.mark.parametrize("rule", RULES)
def test_no_boxes(rule: Decode) -> None:
    uv, score = decode.decode(np.zeros((0, 5, 8, 8), np.float32), rule)
    assert uv.shape == (0, 5, 2)
    assert score.shape == (0, 5)
    assert decode.decidable(np.zeros((0, 5, 8, 8), np.float32), rule).shape == (0, 5)


def test_decidable() -> None:
    def clear(values: dict[tuple[int, int], float], score: Score = "max") -> bool:
        return bool(decode.decidable(maps(9, 9, values), "center", score)[0, 0])

    slopes = {(4, 5): 0.6, (4, 3): 0.4, (5, 4): 0.6, (3, 4): 0.4}
    assert clear({(4, 4): 1.0, **slopes})
    assert not clear({(4, 4): 1.0, **slopes, (0, 0): 0.999}), "a second peak nearly as high"
    assert not clear({(4, 4): 1.0, **slopes, (4, 5): 0.401}), "neighbours nearly equal"
    assert clear({(0, 0): 1.0}), "not refined, so no neighbour matters"
    assert not clear({(4, 4): np.nan, (0, 0): 1.0})
    assert not clear({}), "a flat map"
    below = maps(9, 9, {(0, 0): 1e-4}, rest=-1.0)
    assert not decode.decidable(below, "center", "max")[0, 0], "validity hangs on the sign"
    assert decode.decidable(below, "center", "softmax_near")[0, 0]


@given(seed=st.integers(0, 2**32 - 1), rule=st.sampled_from(RULES))
@settings(deadline=None, max_examples=examples(50))
def test_decidable_points_survive_rounding(seed: int, rule: Decode) -> None:
    random = np.random.RandomState(seed)
    heatmaps = random.rand(1, 8, 12, 10).astype(np.float32)
    noise = (random.rand(*heatmaps.shape) - 0.5) * 0.009 * np.ptp(heatmaps, axis=(2, 3), keepdims=True)
    fine = decode.decidable(heatmaps, rule, margin=0.01)
    before, after = (decode.decode(m, rule)[0] for m in (heatmaps, (heatmaps + noise).astype(np.float32)))
    np.testing.assert_array_equal(before[fine], after[fine])
