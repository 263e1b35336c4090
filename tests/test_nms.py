"""OKS and what is suppressed by it."""

from dataclasses import replace

import numpy as np
import pytest
from test_runtime import BOX, PLACES, blobs, make_runtime

from edgelm.errors import UsageError
from edgelm.landmarks import Landmarks
from edgelm.nms import oks, person_scores, suppress
from edgelm.schemes import get_scheme

COCO = get_scheme("coco17")
SIGMAS = np.array(COCO.sigmas)


def people(shifts: list[float], chances: list[float]) -> Landmarks:
    """Somebody of 100 x 100 px, moved right by each shift."""
    xy = np.random.default_rng(0).uniform(0, 100, (1, 17, 2)) + np.array(shifts)[:, None, None] * (1, 0)
    N = len(shifts)
    return Landmarks(
        xy=xy.astype(np.float32),
        score=np.tile(np.array(chances, np.float32)[:, None], 17),
        box=np.array([[shift, 0, shift + 100, 100] for shift in shifts], float).reshape(-1, 4),
        crop_matrix=np.zeros((N, 2, 3)),
        scheme=COCO,
        image_size=(100, 900),
        box_score=np.ones(N),
    )


def test_oks_is_cocos_formula() -> None:
    one, other = np.random.default_rng(0).uniform(0, 50, (2, 2, 17, 2))
    areas = (np.array([900.0, 400]), np.array([1600.0, 100]))
    found = oks(one, other, areas, SIGMAS)
    for p in range(2):
        for q in range(2):
            d2 = ((one[p] - other[q]) ** 2).sum(-1)
            s2 = (areas[0][p] + areas[1][q]) / 2
            assert found[p, q] == pytest.approx(np.mean(np.exp(-d2 / (2 * s2 * (2 * SIGMAS) ** 2))))
    np.testing.assert_allclose(np.diag(oks(one, one, areas, SIGMAS)), 1)
    one[0, :] = np.nan
    assert oks(one, other, areas, SIGMAS)[0, 0] == 0


def test_one_of_two_that_are_alike_stays() -> None:
    found = people([0, 1, 300, 301, 600], [0.5, 0.9, 0.8, 0.7, 0.3])
    kept = suppress(found)
    np.testing.assert_array_equal(kept.box[:, 0], [1, 300, 600])
    assert len(suppress(found, threshold=1.0)) == 5
    assert len(suppress(found, threshold=1e-6)) == 3, "those far apart have nearly nothing in common"
    np.testing.assert_array_equal(suppress(people([5, 5], [0.5, 0.5])).box[:, 0], [5])
    assert len(suppress(people([], []))) == 0


def test_the_boxs_score_counts() -> None:
    found = replace(people([0, 1], [0.5, 0.9]), box_score=np.array([1.0, 0.1]))
    np.testing.assert_array_equal(suppress(found).box[:, 0], [0])


def test_person_scores() -> None:
    score = np.array([[0.9, 0.3, 0.1], [0.1, 0.2, 0.0]])
    np.testing.assert_allclose(person_scores(score), [0.6, 0])
    np.testing.assert_allclose(person_scores(score, np.array([0.5, 1])), [0.3, 0])


def test_what_cannot_be() -> None:
    with pytest.raises(UsageError, match="300w68 has no OKS constants"):
        suppress(replace(people([], []), scheme=get_scheme("300w68"), xy=np.zeros((0, 68, 2)), score=np.zeros((0, 68))))
    with pytest.raises(UsageError, match="0 to 1, got 90"):
        suppress(people([0], [1]), threshold=90)


def test_in_a_runtime() -> None:
    runtime = make_runtime()
    scheme = replace(runtime.spec.scheme, sigmas=(0.1, 0.1, 0.1))
    runtime.spec = replace(runtime.spec, scheme=scheme)
    boxes = np.concatenate([BOX, BOX + 1])
    assert len(runtime(blobs(PLACES), boxes)) == 2
    assert len(runtime(blobs(PLACES), boxes, nms=0.9)) == 1
