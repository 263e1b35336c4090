"""What the tests of frame sources share: plain images, and an OpenCV capture that says what it is told to."""

from typing import Any

import cv2
import numpy as np

from edgelm.runtimes.frames import Frame


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def levels_of(frames: list[Frame]) -> list[int]:
    return [round(float(f.image.mean())) for f in frames]


class BrokenCapture:
    """What OpenCV would be with a file that lies about everything."""

    def __init__(self, times: list[float], fps: float = 25.0, count: float = 0.0, error: bool = False) -> None:
        self.times, self.at, self.error = times, -1, error
        self.properties = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: count}
        self.properties |= {cv2.CAP_PROP_FRAME_WIDTH: 64, cv2.CAP_PROP_FRAME_HEIGHT: 48}

    def isOpened(self) -> bool:  # noqa: N802
        """As OpenCV's, and so on."""
        return True

    def get(self, which: int) -> float:
        """A property."""
        return 1e3 * self.times[self.at] if which == cv2.CAP_PROP_POS_MSEC else self.properties[which]

    def read(self) -> tuple[bool, Any]:
        """The next frame, grey of its number."""
        self.at += 1
        if self.at < len(self.times):
            return True, grey(self.at)
        if self.error:
            raise cv2.error("bad data")
        return False, None

    def release(self) -> None:
        """Nothing to release."""
