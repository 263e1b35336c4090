"""Several processes train what one trains: shares of batches, the run under torchrun, devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
import train_in_team
from hypothesis import given
from hypothesis import strategies as st
from nets import write_faces

from edgelm.errors import UsageError
from edgelm.models.losses import gaussian_maps, get_loss, terms
from edgelm.models.options import Progress, with_time_left
from edgelm.models.team import Team, find_device, join_team


@given(count=st.integers(1, 40), size=st.integers(1, 9))
def test_shares_make_the_batch(count: int, size: int) -> None:
    batch = np.random.default_rng(count).permutation(count)
    values = np.random.default_rng(1).standard_normal(count)
    total = 0.0
    used: list[int] = []
    for rank in range(size):
        own, counts = Team(rank, size).share(batch)
        assert len(own)
        total += len(own) * counts / count * values[own].mean()
        used += own.tolist() if counts else []
    assert sorted(used) == list(range(count))
    assert total == pytest.approx(values.mean())


def test_two_processes_lose_what_one_does(tmp_path: Path) -> None:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    write_faces(tmp_path / "data" / "train", 7)
    write_faces(tmp_path / "data" / "val", 2, seed=50)
    for name in ("alone", "both"):
        (tmp_path / name).mkdir()
    alone = train_in_team.run(tmp_path / "data", tmp_path / "alone" / "out.pt")
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    line += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    line += [train_in_team.__file__, str(tmp_path / "data"), str(tmp_path / "both" / "out.pt")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (answer,) = [text for text in done.stdout.splitlines() if text.startswith("{")]
    both = json.loads(answer)
    np.testing.assert_allclose(alone["losses"], both["losses"], rtol=1e-5)
    assert alone["bytes"] == both["bytes"]
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"out.pt", "out.log.jsonl"}


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="device is cpu or cuda, got 'tpu'"):
        find_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="finds no CUDA device here"):
        find_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert find_device("cuda") == torch.device("cuda", 3)
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(UsageError, match="4 CUDA devices for more processes"):
        find_device("cuda")


@pytest.mark.parametrize("text", ["0", "two", "-1", ""])
def test_an_environment_that_torchrun_did_not_make(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(UsageError, match="WORLD_SIZE is a number from 1"), join_team(torch.device("cpu")):
        pass


@pytest.mark.parametrize("name", ["mse", "softmax", "bce"])
def test_losses_of_parts_weighed_by_their_terms_are_that_of_all(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    target = gaussian_maps(torch.rand(5, 7, 2, generator=generator) * 12 - 2, 8, 8, 1.0)  # some lie outside
    output = torch.randn(target.shape, generator=generator)
    parts = [slice(0, 1), slice(1, 5)]
    counts = [terms(name, target[part]) for part in parts]
    losses = [float(get_loss(name)(output[part], target[part])) for part in parts]
    weighed = sum(loss * n for loss, n in zip(losses, counts, strict=True)) / sum(counts)
    assert weighed == pytest.approx(float(get_loss(name)(output, target)), rel=1e-6)
    assert name != "softmax" or sum(counts) < 5 * 7
    assert terms(name, target[:0]) == 0


def test_one_process_weighs_nothing() -> None:
    assert (Team().weight(3), Team().weight(0)) == (1.0, 1.0)


def test_time_left() -> None:
    """Continued after 2 of 6 epochs; a step takes a second, of ten in an epoch, and validation two."""
    now, seen = [5.0], list[Progress]()
    report = with_time_left(seen.append, 2, lambda: now[0])
    for step, at in ((5, 10.0), (10, 15.0), (0, 17.0)):
        now[0] = at
        report(Progress(3, 6, step, 10 if step else 0, 1.0, 1.0))
    assert [at.seconds_left for at in seen] == pytest.approx([35.0, 30.0, 36.0])
    now[0] = 53.0
    report(Progress(6, 6, 0, 0, 1.0, 1.0, 5.0))
    assert seen[-1].seconds_left == 0
