"""What all tests share."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from pace import EMULATED, examples

if TYPE_CHECKING:
    from exports import Made

# The tests' networks are tiny: on them a second OpenMP thread costs more in waiting than it computes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shells start what runs in their background with Ctrl-C ignored, and programs inherit that: tests interrupt theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("emulated", max_examples=examples(100), deadline=None)
if EMULATED:
    settings.load_profile("emulated")

# By file and name: what takes minutes on an emulated CPU and shows nothing there.
_SLOW = {
    ("test_bench.py", "test_report"): "times mean nothing there; the ARM job runs edgelm bench",
    ("test_zoo.py", "test_error_on_unseen_faces"): "hours for a hundred faces; the ARM job compares files",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items if EMULATED else ():
        reason = _SLOW.get((item.path.name, item.name.partition("[")[0]))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Callable[[str], Made]]":
    """Checkpoints of the probe network by scheme; see `exports.probes`, which needs torch and onnx."""
    from exports import probes

    with probes(tmp_path_factory.mktemp("checkpoints")) as get:
        yield get


@pytest.fixture(scope="module")
def known_probes() -> Iterator[None]:
    """See `trainings.known_probes`."""
    import trainings  # which needs torch

    with trainings.known_probes():
        yield


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to train on, see `trainings.write_data`; tests only read it."""
    import trainings

    folder = tmp_path_factory.mktemp("faces")
    trainings.write_data(folder)
    return folder
