"""How a head is turned, for each scheme and each way it may be only half seen."""

import numpy as np
import pytest

from edgelm.crops import get_crop
from edgelm.errors import UsageError
from edgelm.roi import Axis, register_axis, rotation_of, turned_boxes
from edgelm.schemes import get_scheme, scheme_names
from edgelm.spec import LandmarkScheme

CROP = get_crop("hrnet_face")
EYES = LandmarkScheme("two-eyes", ("right", "left"), ((0, 1),), ())


@pytest.mark.parametrize("name", scheme_names())
@pytest.mark.parametrize("angle", [0.0, 25.0, -120.0, 179.0])
def test_each_scheme_tells_its_angle(name: str, angle: float) -> None:
    """Points at random, but for the axis: right of the image is the person's left, shoulders are above hips."""
    scheme = get_scheme(name)
    xy = np.random.default_rng(0).uniform(-9, 9, (1, len(scheme.names), 2))
    for i, landmark in enumerate(scheme.names):
        xy[0, i] += (40 * landmark.startswith("left"), 0) if "eye" in landmark or "pupil" in landmark else (0, 0)
        xy[0, i] += (-40 * landmark.startswith("right"), 0) if "eye" in landmark or "pupil" in landmark else (0, 0)
        xy[0, i] += (0, 40 * ("hip" in landmark) - 40 * ("shoulder" in landmark))
    before = rotation_of(xy, scheme)
    assert abs(before[0]) < 25
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    after = rotation_of(xy @ np.array([[cos, sin], [-sin, cos]]), scheme)
    assert (after - before - angle + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


def test_clockwise_is_positive() -> None:
    scheme = get_scheme("wflw98")
    xy = np.zeros((1, 98, 2))
    xy[0, 97] = (10, 10)  # the left pupil, right and below in the image
    assert rotation_of(xy, scheme)[0] == pytest.approx(45)


def test_points_that_were_not_seen_do_not_count() -> None:
    scheme = get_scheme("cofw29")
    xy, score = np.zeros((2, 29, 2)), np.ones((2, 29))
    xy[:, 17], xy[:, 3] = (10, 0), (500, 500)
    score[:, 3] = 0
    xy[1, 16] = np.nan
    np.testing.assert_allclose(rotation_of(xy, scheme, score), [0, 0])
    boxes, _ = turned_boxes(xy, scheme, CROP, score=score)
    assert boxes.max() <= 11


def test_a_scheme_without_an_axis_is_not_turned() -> None:
    boxes, rotation = turned_boxes(np.array([[[3, 4], [13, 34.0]]]), EYES, CROP)
    np.testing.assert_array_equal(rotation, [0])
    np.testing.assert_allclose(boxes, [[3, 4, 13, 34]])
    register_axis("two-eyes", Axis((0,), (1,), 0.0))
    assert turned_boxes(np.array([[[3, 4], [13, 14.0]]]), EYES, CROP)[1] == pytest.approx([-45])
    with pytest.raises(UsageError, match="two-eyes"):
        register_axis("two-eyes", Axis((0,), (1,), 0.0))


def test_too_few_landmarks() -> None:
    scheme = get_scheme("lsp14")
    score = np.zeros((2, 14))
    score[0] = 1
    xy = np.random.default_rng(0).uniform(0, 100, (2, 14, 2))
    with pytest.raises(UsageError, match="face or person 1 has fewer than two landmarks"):
        turned_boxes(xy, scheme, CROP, score=score)
    boxes, rotation = turned_boxes(xy, scheme, CROP, score=score, boxes=np.array([[0, 0, 1, 1], [5, 6, 70, 80.0]]))
    np.testing.assert_array_equal(boxes[1], [5, 6, 70, 80])
    assert rotation[1] == 0
    with pytest.raises(UsageError, match=r"expected landmarks \(N, 14, 2\)"):
        turned_boxes(xy[:, :3], scheme, CROP)


def test_nobody() -> None:
    boxes, rotation = turned_boxes(np.zeros((0, 14, 2)), get_scheme("lsp14"), CROP)
    assert boxes.shape == (0, 4)
    assert rotation.shape == (0,)
