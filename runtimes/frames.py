"""Where frames come from: a video file, a folder of images, or something live, of which only the newest frame counts.

`open_frames` chooses by what the source is. Each source gives `Frame`s, knows its frame rate, and says in `ending` what
is wrong with its end where something is: a video that is cut off gives the frames before the cut and that sentence.
A live source is read by a thread of its own, so that no queue of old frames grows behind a slow network; where it falls
silent, the consumer gets an error after `stall_s` seconds instead of waiting for ever.
"""

import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgelm.errors import EdgelmError, UsageError
from edgelm.images import MAX_PIXELS, read_image

__all__ = ["IMAGE_SUFFIXES", "FolderFrames", "Frame", "Frames", "LatestFrames", "VideoFrames", "open_frames"]

Array = npt.NDArray[Any]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""What counts as a frame in a folder."""

_USUAL_FPS = 30.0
_CLOSING_S = 2.0  # how long `close` waits for a camera that is in the middle of a frame


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a sequence.

    Attributes:
        index: from 0, counted at the source: a live source whose frames were too many leaves gaps.
        time: s from the first frame on.
        image: (H, W, 3) uint8 BGR, or any kind `edgelm.images.as_bgr8` takes.
    """

    index: int
    time: float
    image: Array


class Frames:
    """A source of frames: iterate it, within a `with` block or with `close` at the end.

    Attributes:
        fps: frames per second, as the source says it or as they are wanted.
        live: whether frames are dropped when they come too fast.
        ending: a sentence where the source ended otherwise than it should, else None.
    """

    live: ClassVar[bool] = False
    fps: float = _USUAL_FPS
    ending: str | None = None

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError

    def close(self) -> None:
        """Release file or camera; closing twice is fine."""

    def __enter__(self) -> "Frames":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_frames(source: int | str | PathLike[str], *, fps: float | None = None, stall_s: float = 5.0) -> Frames:
    """Open a camera by its number, a video file or a folder of images.

    Args:
        source: a number or a text of digits that is no file here: a camera; else a path.
        fps: of a folder, 30 by default; of a video and a camera in place of what they say of themselves.
        stall_s: after so long without a frame a camera counts as gone.

    Raises:
        UsageError: there is no such file, folder or camera, or it is none that OpenCV reads.
    """
    if fps is not None and not (isinstance(fps, int | float) and 0 < fps <= 1000):
        raise UsageError(f"fps is a number above 0, 1000 at most, got {fps!r}")
    if isinstance(source, int) or (str(source).isdecimal() and not Path(source).exists()):
        return _open_camera(int(str(source)), fps, stall_s)
    path = Path(source)
    return FolderFrames(path, fps=fps) if path.is_dir() else VideoFrames(path, fps=fps)


class FolderFrames(Frames):
    """The images of a folder by name, numbers in names counted as numbers; what is no image is passed over."""

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        self.fps = fps or _USUAL_FPS
        self.paths = sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=_natural)
        if not self.paths:
            raise UsageError(f"the folder {str(path)!r} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")

    def __iter__(self) -> Iterator[Frame]:
        for i, path in enumerate(self.paths):
            yield Frame(i, i / self.fps, read_image(path))


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


class VideoFrames(Frames):
    """The frames of a video file, one after the other, with the times that the file gives them."""

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        import cv2

        self.path = path
        if not path.is_file():
            raise UsageError(f"there is no video file {str(path)!r}; check the path, or give a camera's number")
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UsageError(
                f"{str(path)!r} is not a video that OpenCV reads; it may be cut off (an .mp4 without its end cannot be "
                "read at all), or convert it to .mp4"
            )
        width, height = (self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not 0 < width * height <= MAX_PIXELS:
            self.close()
            raise UsageError(f"{str(path)!r} has frames of {width:.0f} x {height:.0f} px; shrink it")
        self._given_fps = fps
        self.fps = fps or _sane_fps(self._capture.get(cv2.CAP_PROP_FPS))
        self.declared = max(0, int(min(self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 1e9)))

    def __iter__(self) -> Iterator[Frame]:
        import cv2

        index, last, first = 0, -math.inf, 0.0
        while self._capture.isOpened():
            try:
                read, image = self._capture.read()
            except cv2.error as error:
                self.ending = f"frame {index} of {self.path} cannot be decoded ({error.err}); the video ends there"
                return
            if not read or image is None:
                break
            at = index / self.fps if self._given_fps else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            first = at if index == 0 else first
            at -= first
            # Some containers have no times, or the same for several frames.
            last = at if last < at < math.inf else max(last, -1 / self.fps) + 1 / self.fps
            yield Frame(index, last, image)
            index += 1
        if index < self.declared:
            self.ending = f"{self.path} ends after {index} frames of the {self.declared} it declares; it may be cut off"

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


def _sane_fps(value: float) -> float:
    return value if 1 <= value <= 240 else _USUAL_FPS


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
        self.fps = fps or _USUAL_FPS
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


def _open_camera(number: int, fps: float | None, stall_s: float) -> LatestFrames:
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

    fps = fps or _sane_fps(capture.get(cv2.CAP_PROP_FPS))
    return LatestFrames(read, close=capture.release, fps=fps, stall_s=stall_s, name=f"camera {number}")
