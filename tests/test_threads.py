"""Sessions with several threads: the same results, and nothing to do when there is nothing to do."""

import time

import numpy as np
import pytest

from edgelm import zoo
from edgelm.errors import EngineMissingError
from edgelm.runtimes.base import Session
from edgelm.runtimes.engines import open_session

MODELS = zoo.bundled()


def opened(path: str, threads: int) -> Session:
    try:
        return open_session(path, threads=threads)
    except EngineMissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("path", [str(model) for model in MODELS], ids=[model.suffix for model in MODELS])
def test_threads_change_no_bit(path: str) -> None:
    with opened(path, 1) as one, opened(path, 2) as two, opened(path, 5) as five:
        side = one.spec.input
        crops = np.random.default_rng(0).random((1, side.height, side.width, 3), dtype=np.float32)
        expected = one.run(crops)
        for _ in range(4):  # the first runs find out how many threads there are
            np.testing.assert_array_equal(two.run(crops), expected)
            np.testing.assert_array_equal(five.run(crops), expected)


@pytest.mark.parametrize("path", [str(model) for model in MODELS], ids=[model.suffix for model in MODELS])
def test_idle_threads_sleep(path: str) -> None:
    with opened(path, 2) as session:
        side = session.spec.input
        crops = np.zeros((1, side.height, side.width, 3), np.float32)
        for _ in range(4):
            session.run(crops)
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.4)
        assert time.process_time() - before < 0.1, "a thread spins while nobody runs the session"
