"""Drawing: on a copy, at the right place, on any kind of image, and never a crash for points far outside."""

from dataclasses import replace

import numpy as np
import pytest

from edgelm.errors import UsageError
from edgelm.landmarks import Landmarks
from edgelm.schemes import get_scheme, scheme_names


def one_point(x: float, y: float, *, score: float = 1.0, size: tuple[int, int] = (80, 120)) -> Landmarks:
    """All 14 joints at one place."""
    return Landmarks(
        xy=np.full((1, 14, 2), (x, y), np.float32),
        score=np.full((1, 14), score, np.float32),
        box=np.array([[20.0, 30.0, 70.0, 60.0]]),
        crop_matrix=np.zeros((1, 2, 3)),
        scheme=get_scheme("lsp14"),
        image_size=size,
    )


ONLY_POINTS = {"contours": False, "boxes": False, "scores": False}


@pytest.mark.parametrize("shape", [(80, 120), (80, 120, 1), (80, 120, 3), (80, 120, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_draws_on_a_copy(shape: tuple[int, ...], dtype: type) -> None:
    image: np.ndarray = np.full(shape, np.iinfo(dtype).max // 2, dtype)
    before = image.copy()
    drawn = one_point(50, 40).draw(image)
    np.testing.assert_array_equal(image, before)
    assert drawn.shape == (80, 120, 3)
    assert drawn.dtype == np.uint8
    assert (drawn != 127).any()


def test_a_point_is_where_it_should_be() -> None:
    for x, y in [(50.0, 40.0), (50.5, 40.25)]:
        drawn = one_point(x, y).draw(np.full((80, 120, 3), 24, np.uint8), **ONLY_POINTS).astype(float)[:, :, 0] - 24
        rows, columns = np.indices(drawn.shape)
        centroid = (drawn * columns).sum() / drawn.sum(), (drawn * rows).sum() / drawn.sum()
        np.testing.assert_allclose(centroid, (x, y), atol=0.1)


def test_a_line_is_where_it_should_be() -> None:
    joints = one_point(0, 0)
    joints.xy[0, :, 0] = np.linspace(30, 90, 14)
    joints.xy[0, :, 1] = 40
    image = np.full((80, 120, 3), 24, np.uint8)
    drawn = joints.draw(image, points=False, boxes=False, scores=False)
    changed = np.argwhere((drawn != image).any(-1))
    assert abs(changed[:, 0] - 40).max() <= 2
    assert (drawn[40, 32:88] != 24).any(-1).all()


def test_points_that_were_not_seen_are_left_out() -> None:
    image = np.full((80, 120, 3), 90, np.uint8)
    options = {"boxes": False, "scores": False}
    np.testing.assert_array_equal(one_point(50, 40, score=0.0).draw(image, **options), image)
    np.testing.assert_array_equal(one_point(50, 40, score=0.3).draw(image, threshold=0.5, **options), image)
    assert (one_point(50, 40, score=0.3).draw(image, **options) != image).any()


@pytest.mark.parametrize("at", [(-1e6, 5.0), (1e9, -1e9), (119.9, 79.9), (-0.5, -0.5), (0.0, 0.0)])
def test_points_outside_do_no_harm(at: tuple[float, float]) -> None:
    drawn = one_point(*at).draw(np.zeros((80, 120, 3), np.uint8))
    assert drawn.shape == (80, 120, 3)


def test_boxes_beyond_the_image_and_ids() -> None:
    result = replace(one_point(5, 5), box=np.array([[-300.0, -50.0, 500.0, 500.0]]), track_id=np.array([3]))
    assert (result.draw(np.zeros((80, 120, 3), np.uint8)) != 0).any()


def test_nothing_to_draw() -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    np.testing.assert_array_equal(one_point(1, 1)[:0].draw(image), image)


def test_the_image_must_be_the_same() -> None:
    with pytest.raises(UsageError, match=r"expected the image of \(height, width\) \(80, 120\)"):
        one_point(5, 5).draw(np.zeros((120, 80, 3), np.uint8))
    with pytest.raises(UsageError, match="got float64"):
        one_point(5, 5).draw(np.zeros((80, 120, 3)))


def test_each_person_has_a_colour() -> None:
    image = np.full((80, 120, 3), 24, np.uint8)
    boxes = np.array([[20.0, 10, 100, 30], [20, 50, 100, 70]])
    two = Landmarks(np.zeros((2, 14, 2)), np.ones((2, 14)), boxes, np.zeros((2, 2, 3)), get_scheme("lsp14"), (80, 120))
    two.xy[0, :, 0] = two.xy[1, :, 0] = np.linspace(30, 90, 14)
    two.xy[:, :, 1] = [[20], [60]]
    lines = {"points": False, "boxes": False, "scores": False}
    drawn = two.draw(image, **lines)
    upper, lower = hues(drawn[20]), hues(drawn[60])
    assert len(upper) == len(lower) == 1, "all of a person's lines are of one colour"
    assert upper != lower
    np.testing.assert_array_equal(drawn[:40], two[0].draw(image, colours="person", **lines)[:40])
    parts = two.draw(image, colours="part", **lines)
    assert len(hues(parts[20])) > 1
    kept = replace(two, track_id=np.array([1, 0])).draw(image, **lines)
    assert hues(kept[20]) == lower, "the id decides, not the order"
    with pytest.raises(UsageError, match="unknown colours 'red'; known are auto, part, person"):
        two.draw(image, colours="red")


def hues(row: np.ndarray) -> set[tuple[float, ...]]:
    """The hues in a row (W, 3) drawn on grey of 24, whatever part of each pixel the smoothed lines cover."""
    above = row[30:90].astype(float) - 24
    bright = above[above.max(-1) > 120]
    return set(map(tuple, (bright / bright.max(-1, keepdims=True)).round(1).tolist()))


@pytest.mark.parametrize("name", scheme_names())
def test_every_scheme_draws_lines_and_points(name: str) -> None:
    scheme = get_scheme(name)
    K = len(scheme.names)
    xy = (np.stack(np.divmod(np.arange(K), 10), -1)[None] * 18.0 + 15).astype(np.float32)
    one = Landmarks(xy, np.ones((1, K)), np.array([[10.0, 10, 190, 190]]), np.zeros((1, 2, 3)), scheme, (200, 200))
    image = np.full((200, 200, 3), 24, np.uint8)
    lines = one.draw(image, points=False, boxes=False, scores=False)
    points = one.draw(image, contours=False, boxes=False, scores=False)
    assert (lines != image).any()
    inside = np.rint(xy[0]).astype(int)
    assert (points[inside[:, 1], inside[:, 0]] > 100).all()
