"""A video file that is written while its frames come, and is whole and playable however that ends.

Like every file of edgelm it is written beside its place and renamed onto it. Unlike them it is kept where work ends
early, by an error or by Ctrl-C: what was written is closed, renamed, and plays to its last frame. Where no frame was
written there is no file, and an older one stays.
"""

import contextlib
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelm.atomic import check_output
from edgelm.errors import EdgelmError, UsageError
from edgelm.images import as_bgr8

__all__ = ["VIDEO_CODECS", "VideoFile", "fitted"]

Array = npt.NDArray[Any]

VIDEO_CODECS = {".avi": "MJPG", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
"""Suffixes that can be written, and the codec that each OpenCV build with FFmpeg has for it."""

_LONGEST_GAP_S = 10.0  # a clock that jumps further is not filled with frames


class VideoFile:
    """A video to be written in a `with` block; it plays at the speed at which its frames were taken.

    with VideoFile("out.mp4", fps=30) as video:
        video.write(image, time)

    Attributes:
        count: frames so far, repeated ones too.
        written: whether the file is in its place.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float) -> None:
        """Check the path; nothing is written before the first frame, whose size is the video's.

        Args:
            path: its suffix is one of `VIDEO_CODECS`.
            fps: frames per second of the file.

        Raises:
            UsageError: the path cannot be written, its suffix is not known, or fps is no rate.
        """
        self.path = check_output(path)
        if self.path.suffix.lower() not in VIDEO_CODECS:
            raise UsageError(f"no video format is known by the suffix of {path}; use one of {', '.join(VIDEO_CODECS)}")
        if not 0 < fps <= 1000:
            raise UsageError(f"fps of a video is a number above 0, 1000 at most, got {fps!r}")
        self.fps = fps
        self.count = 0
        self.written = False
        self._temporary = self.path.with_name(f".edgelm-{secrets.token_hex(8)}{self.path.suffix.lower()}")
        self._writer: Any = None
        self._begin = 0.0

    def write(self, image: Array, time: float | None = None) -> None:
        """Append an image; what came before is repeated over the time without any, none is ever left out.

        Args:
            image: any kind `edgelm.images.as_bgr8` takes. One of another size than the first is fitted into its size.
            time: s, of whatever clock; None appends it right after the one before.

        Raises:
            EdgelmError: the file cannot be opened.
        """
        image = as_bgr8(image)
        if self._writer is None:
            self._open(image.shape[0] + image.shape[0] % 2, image.shape[1] + image.shape[1] % 2)
            self._begin = time or 0.0
        image = fitted(image, *self._size)
        if time is not None:
            gap = round((time - self._begin) * self.fps) - self.count if np.isfinite(time) else 0
            if abs(gap) > _LONGEST_GAP_S * self.fps:
                self._begin, gap = time - self.count / self.fps, 0
            for _ in range(gap):
                self._append(self._last)
        self._append(image)

    def close(self) -> None:
        """End the file and put it in its place; a second time does nothing.

        Raises:
            EdgelmError: it does not hold what was written, as where the disk is full.
        """
        if self._writer is None:
            return
        with _uninterrupted():
            self._writer.release()
            self._writer = None
            try:
                if (found := _frames_of(self._temporary)) == 0:
                    raise EdgelmError(f"cannot write {self.path}: nothing of it can be read again; is the disk full?")
                os.replace(self._temporary, self.path)
                self.written = True
            except OSError as error:
                raise EdgelmError(f"cannot write {self.path}: {error.strerror}") from error
            finally:
                self._temporary.unlink(missing_ok=True)
        if found < self.count:
            raise EdgelmError(f"{self.path} has {found} of {self.count} frames; is the disk full?")

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, height: int, width: int) -> None:
        import cv2

        fourcc = cv2.VideoWriter.fourcc(*VIDEO_CODECS[self.path.suffix.lower()])
        self._size = (height, width)
        self._writer = cv2.VideoWriter(str(self._temporary), fourcc, self.fps, (width, height))
        if not self._writer.isOpened():
            self._writer = None
            self._temporary.unlink(missing_ok=True)
            raise EdgelmError(
                f"OpenCV cannot write {self.path.suffix} at {width} x {height} px and {self.fps:g} frames per second; "
                "use .avi, or a smaller size"
            )

    def _append(self, image: Array) -> None:
        self._writer.write(image)
        self._last = image
        self.count += 1


def fitted(image: Array, height: int, width: int) -> Array:
    """An image (H, W, 3) uint8 in the size of a video: as it is, else scaled to fit and centred on black.

    One pixel more is filled with the image's border: codecs want even sizes.
    """
    import cv2

    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    if (h + h % 2, w + w % 2) == (height, width):
        return cv2.copyMakeBorder(image, 0, height - h, 0, width - w, cv2.BORDER_REPLICATE)
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, round(h * scale)), max(1, round(w * scale))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(image, (inner_w, inner_h), interpolation=how)
    return canvas


def _frames_of(path: Path) -> int:
    import cv2

    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return count


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C until the block has ended: a second one must not break into the closing that the first began."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    pressed: list[int] = []
    if before is None:  # not installed by Python; nothing that could be put back
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed and callable(before):
            before(signal.SIGINT, None)
