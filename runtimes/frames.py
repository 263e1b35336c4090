"""Where frames come from: a video file, a folder of images, or a camera (`edgelm.runtimes.live`).

`open_frames` chooses by what the source is. Each source gives `Frame`s, knows its frame rate, and says in `ending` what
is wrong with its end where something is: a video that is cut off gives the frames before the cut and that sentence.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy.typing as npt

from edgelm.errors import UsageError
from edgelm.images import MAX_PIXELS, read_image

__all__ = ["IMAGE_SUFFIXES", "USUAL_FPS", "FolderFrames", "Frame", "Frames", "VideoFrames", "open_frames", "sane_fps"]

Array = npt.NDArray[Any]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""What counts as a frame in a folder."""

USUAL_FPS = 30.0
"""Of a source that does not tell."""


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


class Frames(ABC):
    """A source of frames: iterate it, within a `with` block or with `close` at the end.

    Attributes:
        fps: frames per second, as the source says it or as they are wanted.
        live: whether frames are dropped when they come too fast.
        ending: a sentence where the source ended otherwise than it should, else None.
    """

    live: ClassVar[bool] = False
    fps: float = USUAL_FPS
    ending: str | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order."""

    def close(self) -> None:  # noqa: B027  # a folder holds nothing to release
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
        from edgelm.runtimes.live import open_camera

        return open_camera(int(str(source)), fps=fps, stall_s=stall_s)
    path = Path(source)
    return FolderFrames(path, fps=fps) if path.is_dir() else VideoFrames(path, fps=fps)


class FolderFrames(Frames):
    """The images of a folder by name, numbers in names counted as numbers; what is no image is passed over."""

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        self.fps = fps or USUAL_FPS
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
        self.fps = fps or sane_fps(self._capture.get(cv2.CAP_PROP_FPS))
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


def sane_fps(value: float) -> float:
    """A rate as OpenCV tells it, or the usual one in place of what cannot be one."""
    return value if 1 <= value <= 240 else USUAL_FPS
