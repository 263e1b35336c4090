"""Live sources: the newest frame wins, and never a hang: cameras that go silent, break, end or are closed."""

import sys
import threading
import time

import cv2
import numpy as np
import pytest
from captures import BrokenCapture, grey, levels_of

from edgelm.errors import EdgelmError
from edgelm.runtimes import live
from edgelm.runtimes.frames import Frame, open_frames
from edgelm.runtimes.live import LatestFrames


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened by number, until it is unplugged."""
    monkeypatch.setattr(sys, "platform", "somewhere")
    capture = BrokenCapture(times=[0.0] * 3, fps=12)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: capture)
    with open_frames(0) as source:
        assert source.live
        assert source.fps == 12
        found: list[Frame] = []
        with pytest.raises(EdgelmError, match="camera 0 gives no more frames"):
            found.extend(source)
    assert found[-1].index == 2, "the last one is never lost"


class Camera:
    """A camera that gives `count` frames, one when `go` is released."""

    def __init__(self, count: int = 10**9) -> None:
        self.count, self.given, self.closed = count, 0, threading.Event()
        self.go = threading.Semaphore(0)

    def read(self) -> np.ndarray | None:
        """The next frame, when it may."""
        self.go.acquire()
        if self.given >= self.count:
            return None
        self.given += 1
        return grey(self.given % 250)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed.set()

    def release(self, count: int) -> None:
        """Let it give so many frames, and wait until it did."""
        wanted = self.given + count
        self.go.release(count)
        give_up = time.monotonic() + 10
        while self.given < wanted and time.monotonic() < give_up:
            time.sleep(0.001)


def test_the_latest_frame_wins() -> None:
    camera = Camera()
    with LatestFrames(camera.read, close=camera.close) as source:
        shown = iter(source)
        camera.release(1)
        assert next(shown).index == 0
        camera.release(50)
        camera.go.release()  # the 51st may or may not be the newest by now; the 49 before are dropped
        assert next(shown).index >= 48
        camera.release(1)
        later = next(shown)
        assert later.index >= 50
        assert later.time > 0
        camera.go.release()
    assert camera.closed.wait(5)


def test_the_end_of_a_live_source_ends_the_loop() -> None:
    camera = Camera(count=3)
    camera.go.release(100)
    with LatestFrames(camera.read) as source:
        found = list(source)
    assert found[-1].index == 2
    assert levels_of(found[-1:]) == [3]


def test_a_silent_camera_is_an_error_not_a_hang() -> None:
    camera = Camera()
    begin = time.monotonic()
    source = LatestFrames(camera.read, stall_s=0.2, name="camera 5")
    with pytest.raises(EdgelmError, match=r"camera 5 gave no frame for 0\.2 s"):
        next(iter(source))
    camera.go.release()
    source.close()
    assert time.monotonic() - begin < 10


def test_closing_does_not_wait_for_a_driver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_CLOSING_S", 0.1)
    camera = Camera()
    source = LatestFrames(camera.read)
    begin = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - begin < 5
    assert list(source) == []
    camera.go.release()


def test_an_error_of_the_camera_reaches_the_loop() -> None:
    def read() -> np.ndarray:
        raise OSError("lens fell off")

    with LatestFrames(read) as source, pytest.raises(OSError, match="lens fell off"):
        list(source)


def test_closed_by_another_thread_the_loop_ends() -> None:
    camera = Camera()
    source = LatestFrames(camera.read, stall_s=30)
    threading.Timer(0.1, source.close).start()
    begin = time.monotonic()
    assert list(source) == []
    assert time.monotonic() - begin < 10
    camera.go.release()
