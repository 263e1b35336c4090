"""The result object: unpacking, picking faces, and the formats it converts to."""

import json

import numpy as np
import pytest

from edgelm.errors import UsageError
from edgelm.landmarks import Landmarks
from edgelm.schemes import get_scheme


def make(N: int = 3, *, ids: bool = False) -> Landmarks:
    random = np.random.RandomState(N)
    return Landmarks(
        xy=random.uniform(10, 90, (N, 68, 2)).astype(np.float32),
        score=random.uniform(0.1, 1, (N, 68)).astype(np.float32),
        box=np.tile([10.0, 20.0, 90.0, 110.0], (N, 1)),
        crop_matrix=np.zeros((N, 2, 3)),
        scheme=get_scheme("300w68"),
        image_size=(120, 100),
        times={"total": 1.5},
        track_id=np.arange(N) + 7 if ids else None,
    )


def test_unpacks_as_points_and_scores() -> None:
    result = make()
    xy, score = result
    assert xy is result.xy
    assert score is result.score
    assert len(result) == 3


def test_one_by_one() -> None:
    result = make(ids=True)
    faces = list(result.each())
    assert [len(face) for face in faces] == [1, 1, 1]
    for i, face in enumerate(faces):
        np.testing.assert_array_equal(face.xy[0], result.xy[i])
        assert face.track_id is not None
        assert face.track_id.tolist() == [7 + i]
    np.testing.assert_array_equal(result[-1].xy, result.xy[2:])
    np.testing.assert_array_equal(result[1:].score, result.score[1:])
    np.testing.assert_array_equal(result[np.array([True, False, True])].box, result.box[[0, 2]])
    with pytest.raises(IndexError, match="index 3 for 3"):
        result[3]
    with pytest.raises(IndexError, match="index -4"):
        result[-4]


def test_none() -> None:
    empty = make(0)
    assert len(empty) == 0
    assert list(empty.each()) == []
    assert empty.to_coco(1) == []
    assert json.loads(empty.to_json())["landmarks"] == []


def test_shapes_are_checked() -> None:
    good = make()
    with pytest.raises(UsageError, match=r"expected score of shape \(3, 68\)"):
        Landmarks(good.xy, good.score[:2], good.box, good.crop_matrix, good.scheme, good.image_size)


def test_pts_are_one_based() -> None:
    result = make(1)
    head, *rows, tail = result.to_pts().splitlines()[:1] + result.to_pts().splitlines()[3:]
    assert result.to_pts().splitlines()[:3] == ["version: 1", "n_points: 68", "{"]
    assert head == "version: 1"
    assert tail == "}"
    np.testing.assert_allclose(np.array([row.split() for row in rows], float), result.xy[0] + 1, atol=1e-3)


def test_coco() -> None:
    result = make(2)
    result.score[1, 5] = 0.0
    records = result.to_coco(42, category_id=3)
    assert json.loads(json.dumps(records)) == records
    assert [(r["image_id"], r["category_id"], r["bbox"]) for r in records] == [(42, 3, [10, 20, 80, 90])] * 2
    keypoints = np.array(records[1]["keypoints"]).reshape(68, 3)
    np.testing.assert_allclose(keypoints[:, :2], result.xy[1])
    assert np.flatnonzero(keypoints[:, 2] == 0).tolist() == [5]
    assert records[1]["score"] == pytest.approx(result.score[1].mean())


def test_json() -> None:
    result = make(2, ids=True)
    data = json.loads(result.to_json())
    assert data["scheme"] == "300w68"
    assert data["image_size"] == [120, 100]
    assert data["times_ms"] == {"total": 1.5}
    assert [one["track_id"] for one in data["landmarks"]] == [7, 8]
    assert np.array(data["landmarks"][1]["xy"]).shape == (68, 2)
    assert json.loads(make(1).to_json())["landmarks"][0]["track_id"] is None
