"""A run that is killed, or finds the disk full, at any of its writes: what is left, and that it goes on to the same."""

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from trainings import KilledError, options

from edgelm.errors import EdgelmError
from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.log import log_epoch
from edgelm.models.train import TrainOptions, train

WRITES = ("log 1", "state 1", "checkpoint 1", "log 2", "checkpoint 2")
pytestmark = pytest.mark.usefixtures("known_probes")


@pytest.fixture(scope="module")
def whole(known_probes: None, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainOptions:
    """The options of a run that nothing disturbed."""
    given = options(faces, tmp_path_factory.mktemp("whole"), ema=0.9)
    train(given)
    return given


def assert_same(given: TrainOptions, whole: TrainOptions) -> None:
    found, expected = (load_checkpoint(o.output) for o in (given, whole))
    assert found.notes == expected.notes
    state = found.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.model.state_dict().items())
    logs = [
        [json.loads(line) | {"time": 0} for line in o.output.with_suffix(".log.jsonl").read_text().splitlines()]
        for o in (given, whole)
    ]
    assert logs[0] == logs[1]
    assert [row["epoch"] for row in logs[0]] == [1, 2]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", range(len(WRITES)), ids=WRITES)
def test_killed_at_a_write(
    place: int, after: bool, whole: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, replace = 0, os.replace

    def killing(*paths: Any) -> None:
        nonlocal done
        if done == place and not after:
            raise KilledError
        replace(*paths)
        done += 1
        if done == place + 1 and after:
            raise KilledError

    given = dataclasses.replace(whole, output=tmp_path / "x.pt")
    with monkeypatch.context() as patch:
        patch.setattr("edgelm.atomic.os.replace", killing)
        with pytest.raises(KilledError):
            train(given)
    train(given)
    assert_same(given, whole)
    assert {p.name for p in tmp_path.iterdir()} == {"x.pt", "x.log.jsonl"}


@pytest.mark.parametrize("place", range(len(WRITES)), ids=WRITES)
def test_a_full_disk_at_a_write(
    place: int, whole: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, sync = 0, os.fsync

    def full(file: int) -> None:
        nonlocal done
        if done == place:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)
        done += 1

    given = dataclasses.replace(whole, output=tmp_path / "x.pt")
    with monkeypatch.context() as patch:
        patch.setattr("edgelm.atomic.os.fsync", full)
        with pytest.raises(EdgelmError, match=r"cannot write .*x\..*: No space left"):
            train(given)
    assert not list(tmp_path.glob(".*"))
    if place >= WRITES.index("log 2"):
        assert load_checkpoint(given.output).notes["epochs"] == "1 of 2"
    else:
        assert not given.output.exists()
    train(given)
    assert_same(given, whole)


def test_half_a_line_of_a_log_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.log.jsonl"
    log_epoch(path, {"epoch": 1, "loss": 3.0}, continued=True)
    path.write_text(path.read_text() + '{"epoch": 2, "lo')
    log_epoch(path, {"epoch": 2, "loss": 2.0}, continued=True)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"epoch": 1, "loss": 3.0},
        {"epoch": 2, "loss": 2.0},
    ]
    log_epoch(path, {"epoch": 1, "loss": 9.0}, continued=False)
    assert json.loads(path.read_text()) == {"epoch": 1, "loss": 9.0}
