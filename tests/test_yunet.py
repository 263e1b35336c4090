"""YuNet: OpenCV's wrapper driven rightly; the network itself is the user's file, so a stand-in answers here."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgelm.errors import EngineMissingError, ModelFileError, UsageError
from edgelm.runtimes.yunet import YuNet


class Network:
    """Finds two faces at fixed shares of what it is shown."""

    def __init__(self) -> None:
        self.size = (0, 0)

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802 (OpenCV's name)
        """Note the size that the next image must have."""
        self.size = size

    def detect(self, image: np.ndarray) -> tuple[int, Any]:
        """Rows as OpenCV's: x, y, width, height, five points, score."""
        assert (image.shape[1], image.shape[0]) == self.size
        w, h = self.size
        rows = np.zeros((3, 15), np.float32)
        rows[0, :4], rows[0, 14] = (0.1 * w, 0.1 * h, 0.2 * w, 0.2 * h), 0.9
        rows[1, :4], rows[1, 14] = (0.5 * w, 0.5 * h, 0.4 * w, 0.4 * h), 0.8
        return 1, rows if image.any() else None


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> YuNet:
    class Factory:
        create = staticmethod(lambda *_: Network())

    monkeypatch.setattr(cv2, "FaceDetectorYN", Factory)
    (tmp_path / "yunet.onnx").write_bytes(b"network")
    return YuNet(tmp_path / "yunet.onnx")


@pytest.mark.parametrize("shape", [(100, 200, 3), (1000, 2000, 3), (90, 90), (1501, 701, 4)])
def test_boxes_are_of_the_image(detector: YuNet, shape: tuple[int, ...]) -> None:
    boxes, scores = detector(np.full(shape, 9, np.uint8))
    h, w = shape[:2]
    np.testing.assert_allclose(boxes / (w, h, w, h), [[0.5, 0.5, 0.9, 0.9], [0.1, 0.1, 0.3, 0.3]], atol=1e-5)
    np.testing.assert_allclose(scores, [0.8, 0.9])


def test_nobody(detector: YuNet) -> None:
    boxes, scores = detector(np.zeros((40, 50, 3), np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"there is no file .*none.onnx; YuNet's .onnx is in OpenCV's model zoo"):
        YuNet(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07 not a network")
    if not hasattr(cv2, "FaceDetectorYN"):
        pytest.skip("this OpenCV has no FaceDetectorYN")
    with pytest.raises(ModelFileError, match=r"OpenCV cannot read .*broken.onnx as YuNet"):
        YuNet(tmp_path / "broken.onnx")
    with pytest.raises(UsageError, match="least_score and nms of 0 to 1"):
        YuNet(tmp_path / "broken.onnx", least_score=60)


def test_an_old_opencv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"network")
    monkeypatch.delattr(cv2, "FaceDetectorYN", raising=False)
    with pytest.raises(EngineMissingError, match=r"has no FaceDetectorYN; take 4.5.4 or later"):
        YuNet(tmp_path / "yunet.onnx")
