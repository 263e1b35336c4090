"""OpenCV's thread count while a runtime works: as many as the caller asked for, and afterwards what it was before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from edgelm.opencv import import_cv2

__all__ = ["opencv_threads"]


class _OpenCV:
    """How many calls have changed OpenCV's thread count, and what it was before the first of them."""

    def __init__(self) -> None:
        self.lock, self.calls, self.before = Lock(), 0, 1


_opencv = _OpenCV()


@contextmanager
def opencv_threads(threads: int) -> Iterator[None]:
    """OpenCV's thread count is one for the whole process: of calls that overlap, the last one puts it back."""
    cv2 = import_cv2()

    with _opencv.lock:
        if _opencv.calls == 0:
            _opencv.before = cv2.getNumThreads()
        _opencv.calls += 1
        cv2.setNumThreads(threads)
    try:
        yield
    finally:
        with _opencv.lock:
            _opencv.calls -= 1
            if _opencv.calls == 0:
                cv2.setNumThreads(_opencv.before)


def _forget_calls() -> None:
    """The calls of other threads do not go on in the child of a fork, and one of them may have held the lock."""
    if _opencv.calls > 0:
        _opencv.calls = 0
    _opencv.lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_calls)
