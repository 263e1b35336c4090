"""The built-in face detector: real faces found, largest first, and a clear word where OpenCV has none."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgelm.errors import EngineMissingError, UsageError
from edgelm.images import read_image
from edgelm.runtimes import detect

FACES = Path(__file__).parents[2] / "shared" / "data" / "faces68"
NOISE = np.random.RandomState(0).randint(0, 256, (90, 120, 3)).astype(np.uint8)


def test_iou() -> None:
    box = np.array([0.0, 0, 10, 10])
    assert detect.iou(box, box) == 1
    assert detect.iou(box, box + 5) == pytest.approx(25 / 175)
    assert detect.iou(box, box + 10) == 0
    assert detect.iou(box, box + 50) == 0


@pytest.mark.parametrize("shape", [(1, 1), (20, 20, 3), (3000, 2)])
def test_an_image_without_a_face(shape: tuple[int, ...]) -> None:
    boxes, scores = detect.find_faces(np.zeros(shape, np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_what_is_no_image() -> None:
    with pytest.raises(UsageError, match="got float64"):
        detect.find_faces(np.zeros((90, 120, 3)))


def test_overlapping_boxes_are_merged_and_the_largest_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = np.array([[0, 0, 50, 50], [3, 2, 53, 52], [10, 10, 30, 30], [100, 0, 180, 80.0]])
    monkeypatch.setattr(detect, "haar_boxes", lambda image: (squares, np.array([9.0, 8, 7, 1])))
    boxes, scores = detect.find_faces(NOISE)
    np.testing.assert_allclose(boxes - np.array(detect.CORRECTION) * [[80], [50]], squares[[3, 0]])
    assert scores.tolist() == [1, 9]


def test_a_face_found_twice_half_a_face_apart_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = np.array([[0.0, 0, 100, 100], [5, 46, 100, 141]])
    monkeypatch.setattr(detect, "haar_boxes", lambda image: (squares, np.array([54.9, 55.2])))
    _, scores = detect.find_faces(NOISE)
    assert scores.tolist() == [55.2]


def test_detect_without_cascades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert_no_cascade()


def test_detect_with_the_cascades_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's cv2 says nothing of a folder; its package opencv-data brings one."""
    carried = Path(getattr(getattr(cv2, "data", None), "haarcascades", detect._DEBIAN))
    if not carried.is_dir():
        pytest.skip("this machine has no cascades")
    monkeypatch.delattr(cv2, "data", raising=False)
    monkeypatch.setattr(detect, "_DEBIAN", "/nowhere")
    assert_no_cascade()
    monkeypatch.setattr(detect, "_DEBIAN", str(carried))
    assert not detect._cascade().empty()
    detect._cascade.cache_clear()


def assert_no_cascade() -> None:
    detect._cascade.cache_clear()
    try:
        with pytest.raises(EngineMissingError, match="carries no Haar cascades"):
            detect.find_faces(NOISE)
    finally:
        detect._cascade.cache_clear()


@pytest.mark.skipif(not FACES.is_dir(), reason="needs the faces of ../shared/data")
def test_finds_real_faces() -> None:
    overlaps = []
    for path in sorted((FACES / "val").glob("*.jpg"))[:20]:
        xy = np.array(path.with_suffix(".pts").read_text().partition("{")[2].partition("}")[0].split(), float)
        tight = np.concatenate([xy.reshape(-1, 2).min(0), xy.reshape(-1, 2).max(0)]) - 1
        boxes, scores = detect.find_faces(read_image(path))
        assert len(boxes) == len(scores)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        assert (np.diff(areas) <= 1e-6).all()
        overlaps.append(max((detect.iou(box, tight) for box in boxes), default=0.0))
    assert np.mean(np.array(overlaps) > 0.5) >= 0.9
    assert np.mean(overlaps) > 0.7


@pytest.mark.skipif(not FACES.is_dir(), reason="needs the faces of ../shared/data")
def test_a_large_photo_gives_the_same_faces() -> None:
    image = read_image(sorted((FACES / "val").glob("*.jpg"))[0])
    (small,), _ = detect.find_faces(image)
    (large,), _ = detect.find_faces(cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))
    assert detect.iou(small, large / 4) > 0.8
