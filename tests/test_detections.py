"""Detectors of any kind: every common answer read, every broken one told in a sentence."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_runtime import BOX, PLACES, blobs, make_runtime

from edgelm.errors import EngineMissingError, UsageError
from edgelm.runtimes.detections import adapt, detect, read_detections

ROWS = np.array([[1, 2, 30, 40], [5, 6, 70, 80]])
SCORES, CLASSES = np.array([0.9, 0.25]), np.array([0, 16])
FULL = np.concatenate([ROWS, SCORES[:, None], CLASSES[:, None]], -1)


class Tensor:
    """As torch's: no numbers before `cpu` and `numpy`."""

    def __init__(self, values: Any, *, on_cpu: bool = False) -> None:
        self._values, self._on_cpu = values, on_cpu

    def cpu(self) -> "Tensor":
        """Copy to where numpy reads."""
        return Tensor(self._values, on_cpu=True)

    def numpy(self) -> np.ndarray:
        """The numbers."""
        assert self._on_cpu
        return np.array(self._values, np.float32)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("cannot convert a device's tensor")


ULTRALYTICS = SimpleNamespace(boxes=SimpleNamespace(xyxy=Tensor(ROWS), conf=Tensor(SCORES), cls=Tensor(CLASSES)))
SUPERVISION = SimpleNamespace(xyxy=ROWS, confidence=SCORES, class_id=CLASSES)
INSIGHTFACE = [SimpleNamespace(bbox=row, det_score=score) for row, score in zip(ROWS, SCORES, strict=True)]


@pytest.mark.parametrize(
    ("answer", "scored", "classed"),
    [
        (ROWS, False, False),
        (ROWS.tolist(), False, False),
        (FULL[:, :5].astype(np.float32), True, False),
        (FULL.tolist(), True, True),
        ((ROWS, SCORES), True, False),
        ((ROWS.tolist(), list(SCORES)), True, False),
        ((ROWS, SCORES, CLASSES), True, True),
        ((ROWS, None), False, False),
        ((FULL, None), True, True),
        (tuple(map(tuple, ROWS.tolist())), False, False),
        (list(ROWS), False, False),
        (Tensor(FULL), True, True),
        ([ULTRALYTICS], True, True),
        (ULTRALYTICS, True, True),
        (SUPERVISION, True, True),
        (SimpleNamespace(xyxy=ROWS, confidence=None, class_id=None), False, False),
        (INSIGHTFACE, True, False),
        ([SimpleNamespace(bbox=row) for row in ROWS], False, False),
    ],
)
def test_every_common_answer(answer: Any, scored: bool, classed: bool) -> None:
    boxes, scores, classes = read_detections(answer)
    assert boxes.dtype == np.float64
    np.testing.assert_array_equal(boxes, ROWS)
    assert (scores is not None) == scored
    assert (classes is not None) == classed
    if scores is not None:
        np.testing.assert_allclose(scores, SCORES, rtol=1e-6)
    if classes is not None:
        np.testing.assert_array_equal(classes, CLASSES)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        (),
        (None, None),
        np.zeros((0, 4)),
        np.zeros((0, 6)),
        (np.zeros((0, 4)), np.zeros(0)),
        SimpleNamespace(boxes=SimpleNamespace(xyxy=np.zeros((0, 4)), conf=np.zeros(0), cls=np.zeros(0))),
    ],
)
def test_nobody(answer: Any) -> None:
    boxes, scores, _ = read_detections(answer)
    assert boxes.shape == (0, 4)
    assert scores is None or scores.shape == (0,)
    assert len(make_runtime()(blobs(PLACES), detector=lambda image: answer)) == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("a face", "expected numbers, got str 'a face'"),
        ({"boxes": ROWS}, "expected numbers, got dict"),
        (object(), "expected numbers, got object"),
        (np.zeros((3, 7)), r"got shape \(3, 7\)"),
        (np.zeros((2, 2, 4)), r"got shape \(2, 2, 4\)"),
        (3.0, r"got shape \(\)"),
        ([[1, 2, 3, 4], [1, 2]], "expected numbers"),
        ((ROWS, [0.5]), "1 scores for 2 boxes"),
        ((ROWS, SCORES, [1, 2, 3]), "3 classes for 2 boxes"),
        ([[1, 2, np.nan, 4]], "boxes that are not finite"),
        ([[1, 2, np.inf, 4]], "boxes that are not finite"),
        ((ROWS, [0.5, np.nan]), "scores that are not finite"),
        (np.zeros((20_000, 4)), "20000 boxes, at most 10000"),
    ],
)
def test_garbage(answer: Any, words: str) -> None:
    with pytest.raises(UsageError, match="the detector .*lambda.* gave no boxes: .*" + words):
        make_runtime()(blobs(PLACES), detector=lambda image: answer)


@pytest.mark.parametrize("box", [[400, 10, 500, 90], [10, 10, 5, 90], [0, 0, 1e9, 9]])
def test_boxes_that_are_none(box: list[float]) -> None:
    with pytest.raises(UsageError, match="box 1"):
        make_runtime()(blobs(PLACES), detector=lambda image: [BOX[0], box])


def test_a_detector_that_fails() -> None:
    class Broken:
        def __call__(self, image: np.ndarray) -> None:
            raise ZeroDivisionError("no anchors")

    with pytest.raises(UsageError, match=r"the detector .*Broken failed with ZeroDivisionError: no anchors") as caught:
        make_runtime()(blobs(PLACES), detector=Broken())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(UsageError, match=r"a detector that is called with an image, got 'yunet\.onnx'"):
        make_runtime()(blobs(PLACES), detector="yunet.onnx")  # type: ignore[arg-type]

    def missing(image: np.ndarray) -> None:
        raise EngineMissingError("install it")

    with pytest.raises(EngineMissingError, match="install it"):
        detect(missing, blobs(PLACES))


def test_scores_reach_the_result() -> None:
    result = make_runtime()(blobs(PLACES), detector=lambda image: (BOX, [0.75]))
    assert result.box_score is not None
    assert result.box_score.tolist() == [0.75]
    assert make_runtime()(blobs(PLACES), BOX).box_score is None


def test_adapt() -> None:
    image = blobs(PLACES)

    def persons(image: np.ndarray) -> Any:
        return [ULTRALYTICS]

    assert adapt(persons)(image)[0].tolist() == ROWS.tolist()
    assert adapt(persons, classes=(0,))(image)[0].tolist() == ROWS[:1].tolist()
    assert adapt(persons, classes=(1,))(image)[0].shape == (0, 4)
    boxes, scores = adapt(persons, least_score=0.5)(image)
    assert (boxes.tolist(), scores.tolist()) == (ROWS[:1].tolist(), [pytest.approx(0.9)])
    with pytest.raises(UsageError, match="answer tells none"):
        adapt(lambda image: ROWS, classes=(0,))(image)
    assert adapt(lambda image: ROWS, least_score=0.5)(image)[1] is None


def test_500_faces_are_chunks() -> None:
    runtime = make_runtime()
    boxes = BOX + np.random.RandomState(0).uniform(-30, 30, (500, 1))
    result = runtime(blobs(PLACES), boxes)
    assert len(result) == 500
    assert max(runtime.session.batches) == 32  # type: ignore[attr-defined]
    np.testing.assert_array_equal(result.xy[499], runtime(blobs(PLACES), boxes[499]).xy[0])
