"""Video files that are written frame by frame: whole and playable however that ended."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from captures import grey
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples

from edgelm.errors import EdgelmError, UsageError
from edgelm.video import VIDEO_CODECS, VideoFile, fitted


def read(path: Path) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        images.append(np.asarray(got[1]))
    return images


def levels_of(path: Path) -> list[int]:
    """To the next 10: codecs lose some of a level."""
    return [round(float(image.mean()) / 10) * 10 for image in read(path)]


@pytest.mark.parametrize("suffix", [*VIDEO_CODECS, ".MP4"])
def test_every_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoFile(path, fps=12.5) as video:
        for level in (10, 100, 200):
            video.write(grey(level))
        assert not path.exists()
        assert not video.written
    assert video.written
    assert levels_of(path) == [10, 100, 200]
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 12.5
    assert list(tmp_path.iterdir()) == [path]


def test_it_plays_at_the_speed_of_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    with VideoFile(path, fps=10) as video:
        for level, time in ((10, 7.0), (50, 7.1), (100, 7.4), (150, 7.41), (200, 7.42), (250, 7.8)):
            video.write(grey(level), time)
    assert levels_of(path) == [10, 50, 50, 50, 100, 150, 200, 200, 250]


@pytest.mark.parametrize("time", [1e9, -1e9, float("nan"), float("inf")])
def test_a_clock_that_jumps_is_not_filled_up(tmp_path: Path, time: float) -> None:
    path = tmp_path / "out.avi"
    with VideoFile(path, fps=10) as video:
        video.write(grey(10), 0.0)
        video.write(grey(100), time)
        video.write(grey(200), time + 0.1)
    assert levels_of(path) == [10, 100, 200]


def test_after_an_error_what_was_written_is_there(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    images: list[Any] = [grey(10), grey(100), "broken"]

    def write() -> None:
        with VideoFile(path, fps=10) as video:
            for image in images:
                video.write(image)

    with pytest.raises(UsageError, match="image"):
        write()
    assert levels_of(path) == [10, 100]


def test_without_a_frame_the_older_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")
    with VideoFile(path, fps=10) as video:
        pass
    assert not video.written
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_vanishes_is_noticed(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "out.mp4", fps=10)
    video.write(grey(10))
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(EdgelmError, match=r"cannot write .*out\.mp4"):
        video.close()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_closing_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.avi"
    replace = os.replace

    def interrupted(old: Path, new: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        replace(old, new)

    monkeypatch.setattr(os, "replace", interrupted)
    video = VideoFile(path, fps=10)
    video.write(grey(10))
    with pytest.raises(KeyboardInterrupt):
        video.close()
    assert levels_of(path) == [10]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_from_another_thread(tmp_path: Path) -> None:
    def write() -> None:
        with VideoFile(tmp_path / "out.avi", fps=10) as video:
            video.write(grey(10))

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert levels_of(tmp_path / "out.avi") == [10]


@pytest.mark.parametrize(
    ("name", "words"), [("out.gif", "suffix"), ("out", "suffix"), ("none/out.mp4", "does not exist"), (".", "folder")]
)
def test_wrong_paths(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        VideoFile(tmp_path / name, fps=10)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_wrong_rates(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UsageError, match="fps"):
        VideoFile(tmp_path / "out.mp4", fps=fps)


def test_images_of_other_sizes_and_kinds(tmp_path: Path) -> None:
    """Odd sizes lose no row; what is larger, smaller, turned or grey is fitted in."""
    path = tmp_path / "out.avi"
    with VideoFile(path, fps=10) as video:
        for shape in ((49, 65, 3), (49, 65), (98, 130, 3), (10, 7, 4), (65, 49, 3), (1, 1, 1)):
            video.write(np.full(shape, 100, np.uint8))
    images = read(path)
    assert [image.shape for image in images] == [(50, 66, 3)] * 6
    np.testing.assert_allclose([image.mean() for image in images[:3]], 100, atol=3)


@settings(max_examples=examples(60), deadline=None)
@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.integers(1, 45), st.integers(1, 45))
def test_fitted(size: tuple[int, int], half_height: int, half_width: int) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    height, width = 2 * half_height, 2 * half_width
    out = fitted(image, height, width)
    assert out.shape == (height, width, 3)
    assert out.dtype == np.uint8
    rows, columns = out[..., 0].any(1), out[..., 0].any(0)
    assert rows.all() or columns.all(), "one side is filled"
    assert out[rows][:, columns].min() == 200, "nothing but the image and black"
    margins = np.flatnonzero(rows)[[0, -1]], np.flatnonzero(columns)[[0, -1]]
    for (first, last), whole in zip(margins, (height, width), strict=True):
        assert abs(first - (whole - 1 - last)) <= 1, "in the middle"
