"""Frames of something live, of which only the newest counts.

A thread of its own reads the source, so that no queue of old frames grows behind a slow network; where the source falls
silent, the consumer gets an error after `stall_s` seconds instead of waiting for ever.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.errors import EdgelmError, UsageError
from edgelm.runtimes.frames import USUAL_FPS, Frame, Frames, sane_fps

__all__ = ["LatestFrames", "open_camera"]

Array = npt.NDArray[Any]

_CLOSING_S = 2.0  # how long `close` waits for a camera that is in the middle of a frame


class LatestFrames(Frames):
    """The newest frame of something live, as often as the consumer asks; the ones between are dropped.

    with LatestFrames(picamera.capture_array) as frames: ...
    """

    live = True

    def __init__(
        self,
        read: Callable[[], Array | None],
        *,
        close: Callable[[], object] = lambda: None,
        fps: float | None = None,
        stall_s: float = 5.0,
        name: str = "the camera",
    ) -> None:
        """Start reading.

        Args:
            read: blocks until the next image, and gives it in an array of its own; None at the end.
            close: called when reading has ended, by the thread that reads.
            fps: of the source, for files that are made of it.
            stall_s: how long a frame may take to come.
            name: for messages.
        """
        self.fps = fps or USUAL_FPS
        self._read, self._release, self._stall_s, self._name = read, close, stall_s, name
        self._news = threading.Condition()
        self._newest: Frame | None = None
        self._error: BaseException | None = None
        self._stopped = self._ended = False
        self._thread = threading.Thread(target=self._keep_reading, name=f"edgelm reads {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        shown = -1
        while True:
            with self._news:
                here = self._news.wait_for(partial(self._is_news, shown), self._stall_s)
                frame, error = self._newest, self._error
            if frame is not None and frame.index > shown and not self._stopped:
                shown = frame.index
                yield frame
            elif error is not None:
                raise error
            elif not here:
                raise EdgelmError(f"{self._name} gave no frame for {self._stall_s:g} s; is it still connected?")
            else:
                return

    def _is_news(self, shown: int) -> bool:
        return self._ended or self._stopped or (self._newest is not None and self._newest.index > shown)

    def _keep_reading(self) -> None:
        begin, index = math.nan, 0
        error: BaseException | None = None
        try:
            while not self._stopped and (image := self._read()) is not None:
                now = time.monotonic()
                begin = now if index == 0 else begin
                with self._news:
                    self._newest = Frame(index, now - begin, image)
                    self._news.notify_all()
                index += 1
        except BaseException as caught:  # handed on to the thread that consumes, which would wait for ever otherwise
            error = caught
        finally:
            with self._news:
                self._error, self._ended = error, True
                self._news.notify_all()
            self._release()

    def close(self) -> None:
        """Stop reading; a camera that hangs within its driver is left behind to a thread that ends with the process."""
        with self._news:
            self._stopped = True
            self._news.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSING_S)


def open_camera(number: int, *, fps: float | None = None, stall_s: float = 5.0) -> LatestFrames:
    """Open a camera of this machine; arguments and errors as in `edgelm.runtimes.frames.open_frames`."""
    import cv2

    problem = f"camera {number} is not there, or another program has it; check the number, the cable and /dev/video*"
    # Asked first because OpenCV writes of an absent camera to stderr.
    if sys.platform == "linux" and not Path(f"/dev/video{number}").exists():
        raise UsageError(problem)
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise UsageError(problem)

    def read() -> Array:
        read, image = capture.read()
        if not read:
            raise EdgelmError(f"camera {number} gives no more frames; is it still connected?")
        return np.asarray(image)

    fps = fps or sane_fps(capture.get(cv2.CAP_PROP_FPS))
    return LatestFrames(read, close=capture.release, fps=fps, stall_s=stall_s, name=f"camera {number}")
