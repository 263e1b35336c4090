"""Files and folders as frames: in order, with times that rise whatever the file says, and up to where it is cut off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from captures import BrokenCapture, grey, levels_of

from edgelm.errors import UsageError
from edgelm.runtimes.frames import FolderFrames, Frame, VideoFrames, open_frames


def write_video(path: Path, levels: list[int], *, fps: float = 25, size: tuple[int, int] = (64, 48)) -> Path:
    codec = {".avi": "MJPG", ".mkv": "mp4v", ".mp4": "mp4v"}[path.suffix]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    for level in levels:
        writer.write(np.full((size[1], size[0], 3), level, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_video(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", [10, 60, 110, 160, 210])
    with open_frames(path) as source:
        assert isinstance(source, VideoFrames)
        assert source.fps == 25
        assert not source.live
        found = list(source)
    assert [f.index for f in found] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose([f.time for f in found], np.arange(5) / 25, atol=1e-3)
    # Both codecs lose some of a level.
    np.testing.assert_allclose(levels_of(found), [10, 60, 110, 160, 210], atol=3)
    assert source.ending is None
    assert list(source) == [], "closed"
    with open_frames(str(path), fps=5) as source:
        np.testing.assert_allclose([f.time for f in source], np.arange(5) / 5)


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_video_cut_in_the_middle_of_a_frame(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 240, 320, 3), np.uint8)
    path = tmp_path / f"a{suffix}"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*{".avi": "MJPG", ".mkv": "mp4v"}[suffix]), 25, (320, 240)
    )
    for image in noise:
        writer.write(image)
    writer.release()
    with open_frames(path) as source:
        whole = list(source)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with open_frames(path) as source:
        found = list(source)
    assert 5 <= len(found) < 20
    for one, other in zip(found[:-1], whole, strict=False):
        np.testing.assert_array_equal(one.image, other.image)
    assert source.ending is not None
    assert f"{len(found)} frames of the 20" in source.ending


def test_a_video_without_its_end_cannot_be_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [10] * 20)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UsageError, match="cut off"):
        open_frames(path)


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 50, bytes(10_000)])
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.mp4"):
        open_frames(path)


def test_no_such_video(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no video file"):
        open_frames(tmp_path / "none.mp4")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., VideoFrames]:
    path = tmp_path / "a.avi"
    path.touch()

    def make(**broken: Any) -> VideoFrames:
        monkeypatch.setattr(cv2, "VideoCapture", lambda name: BrokenCapture(**broken))
        return VideoFrames(path)

    return make


@pytest.mark.parametrize(
    "times", [[0, 0, 0, 0], [3, 2, 1, 0], [0, np.nan, np.inf, 0.1], [5.0, 5.04, 5.04, 5.2], [-1, -1, 4, -np.inf]]
)
def test_times_rise_whatever_the_file_says(opened: Callable[..., VideoFrames], times: list[float]) -> None:
    found = [f.time for f in opened(times=times)]
    assert len(found) == 4
    assert np.isfinite(found).all()
    assert found[0] == 0
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("fps", [0.0, -1.0, np.nan, np.inf, 1e9])
def test_rates_that_are_none(opened: Callable[..., VideoFrames], fps: float) -> None:
    assert opened(times=[0], fps=fps, count=-5).fps == 30


def test_a_decoder_that_gives_up(opened: Callable[..., VideoFrames]) -> None:
    source = opened(times=[0, 0.04], error=True)
    assert len(list(source)) == 2
    assert source.ending is not None
    assert "frame 2" in source.ending


def test_a_folder(tmp_path: Path) -> None:
    for name, level in (("f10.png", 100), ("f9.png", 90), ("f1.jpg", 10), ("F2.PNG", 20)):
        data = cv2.imencode(Path(name).suffix.lower(), grey(level, 48, 64 + level))[1]
        (tmp_path / name).write_bytes(data.tobytes())
    (tmp_path / "notes.txt").write_text("no image")
    with open_frames(tmp_path, fps=10) as source:
        assert isinstance(source, FolderFrames)
        found = list(source)
    assert levels_of(found) == [20, 10, 90, 100]
    np.testing.assert_allclose([f.time for f in found], [0, 0.1, 0.2, 0.3])
    (tmp_path / "f9.png").write_bytes(b"damaged")
    shown: list[Frame] = []
    with pytest.raises(UsageError, match=r"f9\.png"):
        shown.extend(open_frames(tmp_path))
    assert levels_of(shown) == [20, 10]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no images"):
        open_frames(tmp_path)


def test_a_camera_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (97, "97"):
        with pytest.raises(UsageError, match="camera 97 is not there"):
            open_frames(number)


@pytest.mark.parametrize("fps", [0, -3, np.nan, "30", 1e9])
def test_wrong_rates(tmp_path: Path, fps: Any) -> None:
    with pytest.raises(UsageError, match="fps"):
        open_frames(tmp_path, fps=fps)
