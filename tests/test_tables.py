"""Other tools' records: the right names, places and numbers, and a word where a package is missing."""

import csv
import io
import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_landmarks import make

from edgelm import tables
from edgelm.errors import PackageMissingError, UsageError


def test_normalized() -> None:
    result = make(2)
    result.xy[1, 7] = (-0.5, 119.5)
    result.score[1, 7:9] = (1.5, -0.1)
    result.xy[0, 0] = (99.5, 0)
    faces = result.to_normalized()
    assert [len(face) for face in faces] == [68, 68]
    assert faces[1][7] == (0.0, 1.0, 0.0, 1.0, 1.0, "jaw_7")
    assert faces[1][8].visibility == faces[1][8].presence == 0
    assert faces[0][0][:2] == pytest.approx((1.0, 0.5 / 120))


def test_mmpose() -> None:
    result = make(2)
    records = result.to_mmpose()
    assert json.loads(json.dumps(records)) == records
    assert set(records[0]) == {"keypoints", "keypoint_scores", "bbox", "bbox_score"}
    np.testing.assert_array_equal(records[1]["keypoints"], result.xy[1])
    np.testing.assert_array_equal(records[1]["keypoint_scores"], result.score[1])
    assert records[0]["bbox"] == [result.box[0].tolist()]
    assert records[0]["bbox_score"] == 1.0
    assert replace(result, box_score=np.array([0.5, 0.25])).to_mmpose()[1]["bbox_score"] == 0.25


def test_csv() -> None:
    result = make(2, ids=True)
    result.xy[1, 3, 0] = np.nan
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert tuple(rows[0]) == tables.COLUMNS
    assert len(rows) == 2 * 68
    assert [rows[0]["person"], rows[68]["person"], rows[68]["track_id"], rows[1]["landmark"]] == [
        "0",
        "1",
        "8",
        "jaw_1",
    ]
    assert rows[68 + 3]["x"] == ""
    np.testing.assert_allclose(float(rows[70]["y"]), result.xy[1, 2, 1], rtol=1e-5)
    assert next(csv.DictReader(io.StringIO(make(1).to_csv())))["track_id"] == ""
    assert make(0).to_csv() == "person,track_id,landmark,x,y,score\n"


def test_dataframe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: pandas is no dependency of the tests."""
    monkeypatch.setitem(sys.modules, "pandas", module("pandas", DataFrame=lambda rows, columns: (rows, columns)))
    result = make(2)
    rows, columns = result.to_dataframe()
    assert columns == list(tables.COLUMNS)
    assert len(rows) == 136
    assert rows[70] == (1, None, "jaw_2", *result.xy[1, 2].tolist(), result.score[1, 2])


def key_points_26(xy: Any, class_id: Any = None, confidence: Any = None, data: Any = None) -> SimpleNamespace:
    """What supervision 0.26 takes."""
    return SimpleNamespace(xy=xy, class_id=class_id, score=confidence, data=data)


def key_points_32(xy: Any, class_id: Any = None, keypoint_confidence: Any = None, data: Any = None) -> SimpleNamespace:
    """What supervision 0.32 takes."""
    return SimpleNamespace(xy=xy, class_id=class_id, score=keypoint_confidence, data=data)


@pytest.mark.parametrize("kind", [key_points_26, key_points_32])
def test_supervision(kind: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against stand-ins: supervision is no dependency of the tests."""
    monkeypatch.setitem(sys.modules, "supervision", module("supervision", KeyPoints=kind))
    result = make(2, ids=True)
    made = result.to_supervision()
    assert made.xy.shape == (2, 68, 2)
    assert np.array_equal(made.score, result.score)
    assert made.class_id.tolist() == [0, 0]
    assert made.data["track_id"].tolist() == [7, 8]
    assert "track_id" not in make(1).to_supervision().data


@pytest.mark.parametrize("name", ["pandas", "supervision"])
def test_missing_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PackageMissingError, match=f"run `pip install {name}`"):
        make(1).to_dataframe() if name == "pandas" else make(1).to_supervision()


def test_box_scores_go_with_their_boxes() -> None:
    result = replace(make(3), box_score=np.array([0.1, 0.2, 0.3]))
    assert result[1].box_score.tolist() == [0.2]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=r"expected box_score of shape \(3,\)"):
        replace(result, box_score=np.zeros(2))


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made
