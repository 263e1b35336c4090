"""A followed person's geometry: overlaps, agreement of points, boxes around them, and where they should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm.runtimes.detect import iou
from edgelm.runtimes.one_euro import OneEuroOptions
from edgelm.runtimes.person import Person, agreement, box_around, overlaps, usable

CORNERS = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 60), st.floats(0.5, 60))
BOXES = st.lists(CORNERS, max_size=4).map(
    lambda rows: np.array([[x, y, x + w, y + h] for x, y, w, h in rows]).reshape(-1, 4)
)


@settings(max_examples=examples(80), deadline=None)
@given(BOXES, BOXES)
def test_overlaps_equal_one_by_one(a: np.ndarray, b: np.ndarray) -> None:
    found = overlaps(a, b)
    assert found.shape == (len(a), len(b))
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            assert found[i, j] == pytest.approx(iou(one, other), abs=1e-12)


def test_a_margin_reaches_boxes_that_are_apart() -> None:
    a, b = np.array([[0.0, 0, 10, 10]] * 2), np.array([[12.0, 0, 22, 10], [100, 0, 110, 10]])
    found = overlaps(a, b, np.array([0.0, 0.5]))
    assert (found[0] == 0).all()
    assert found[1, 0] == pytest.approx(8 / 32), "both are twice as large: 20 px, 12 px apart"
    assert found[1, 1] == 0


def test_agreement_is_coco_oks() -> None:
    one = np.zeros((2, 2))
    other = np.array([[3.0, 4], [0, 0]])
    assert agreement(one, one, 100, None) == 1
    sigmas = np.array([0.1, 0.025])
    # exp(-d^2 / (2 area (2 sigma)^2)) with d = 5, area = 100, sigma = 0.1
    assert agreement(one, other, 100, sigmas) == pytest.approx((np.exp(-25 / (2 * 100 * 0.04)) + 1) / 2)
    assert agreement(one, other, 1e4, None) > agreement(one, other, 100, None) > 0.5
    assert np.isfinite(agreement(one, other, 0.0, None))


def test_box_around() -> None:
    xy = np.array([[10.0, 20], [30, 60], [500, 500], [np.nan, 0]])
    score = np.array([0.9, 0.5, 0.1, 0.9])
    np.testing.assert_array_equal(box_around(xy, score, 0.5, 1.0), [10, 20, 30, 60])
    np.testing.assert_array_equal(box_around(xy, score, 0.5, 1.25), [7.5, 15, 32.5, 65])
    assert not usable(box_around(xy, score, 0.95, 1.0), (100, 100))


@pytest.mark.parametrize(
    ("box", "fine"),
    [
        ([0, 0, 10, 10], True),
        ([-9, -9, 3, 3], True),
        ([-9, -9, -3, -3], False),
        ([100, 0, 110, 10], False),
        ([0, 50, 10, 60], False),
        ([5, 5, 6, 30], False),
        ([5, 5, 5000, 30], False),
        ([np.nan, 0, 10, 10], False),
        ([0, 0, np.inf, 10], False),
    ],
)
def test_usable(box: list[float], fine: bool) -> None:
    assert usable(np.array(box, float), (50, 100)) is fine


def test_the_speed_is_learned() -> None:
    person = Person(0, np.array([0.0, 0, 10, 10]), 0.0, np.zeros(2))
    for i in range(1, 60):
        person = person.moved_to(np.array([2.0 * i, -i, 2 * i + 10, 10 - i]), i / 10)
    np.testing.assert_allclose(person.speed, [20, -10], rtol=1e-3)
    moved = np.array([20, -10, 20, -10])
    np.testing.assert_allclose(person.box_at(6.9), person.box + moved, rtol=1e-3)
    np.testing.assert_array_equal(person.box_at(0.0), person.box)
    assert (person.moved_to(person.box, person.time).speed == 0).all()


def test_one_who_was_missing_starts_anew_with_smoothing() -> None:
    person = Person(0, np.array([0.0, 0, 200, 200]), 0.0, np.zeros(2))
    xy, score = np.full((3, 2), 5.0), np.ones(3)
    options = OneEuroOptions()
    person, _ = person.smoothed(xy, score, options)
    stayed, near = person.moved_to(person.box, 0.1).smoothed(xy + 8, score, options)
    assert ((near > 5) & (near < 13)).all()
    assert stayed.smoother is person.smoother
    back = Person(0, person.box, 0.0, person.speed, missing=3, smoother=person.smoother).moved_to(person.box, 0.2)
    np.testing.assert_array_equal(back.smoothed(xy + 8, score, options)[1], xy + 8)
    np.testing.assert_array_equal(back.smoothed(xy, score, None)[1], xy)


def test_resized() -> None:
    person = Person(3, np.array([10.0, 20, 30, 40]), 1.0, np.array([2.0, -4]), missing=2).resized((100, 200), (50, 400))
    np.testing.assert_array_equal(person.box, [20, 10, 60, 20])
    np.testing.assert_array_equal(person.speed, [4, -2])
    assert (person.id, person.missing) == (3, 2)
