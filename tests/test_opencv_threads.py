"""OpenCV has one thread count for the whole process: calls from several threads leave it as it was."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import cv2
import numpy as np
from test_runtime import BOX, PLACES, blobs, make_runtime

LIMIT = 30.0
"""Seconds that a call waits for the other one."""


def test_calls_that_overlap() -> None:
    entered, left = Event(), Event()

    def detector(reached: Event, awaited: Event) -> Callable[[Any], np.ndarray]:
        def detect(image: Any) -> np.ndarray:
            reached.set()
            assert awaited.wait(LIMIT)
            return BOX

        return detect

    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        with ThreadPoolExecutor(2) as pool:
            started = Event()
            first = pool.submit(make_runtime(), blobs(PLACES), detector=detector(started, entered))
            assert started.wait(LIMIT)
            second = pool.submit(make_runtime(), blobs(PLACES), detector=detector(entered, left))
            first.result(LIMIT)  # it began before the second call and ends before it
            left.set()
            second.result(LIMIT)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
