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
from hypothesis import given
from hypothesis import strategies as st
from nets import write_faces

from edgelm.errors import UsageError
from edgelm.models.team import Team, find_device

SCRIPT = Path(__file__).with_name("train_in_team.py")


@given(count=st.integers(1, 40), size=st.integers(1, 9))
def test_shares_make_the_batch(count: int, size: int) -> None:
    batch = np.random.default_rng(count).permutation(count)
    values = np.random.default_rng(1).standard_normal(count)
    total = 0.0
    used: list[int] = []
    for rank in range(size):
        own, weight = Team(rank, size).share(batch)
        assert len(own)
        total += weight * values[own].mean() / size
        used += own.tolist() if weight else []
    assert sorted(used) == list(range(count))
    assert total == pytest.approx(values.mean())


def test_two_processes_lose_what_one_does(tmp_path: Path) -> None:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    write_faces(tmp_path / "data" / "train", 7)
    write_faces(tmp_path / "data" / "val", 2, seed=50)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    found = []
    for name, command in (("alone", [sys.executable]), ("both", torchrun)):
        (tmp_path / name).mkdir()
        line = [*command, str(SCRIPT), str(tmp_path / "data"), str(tmp_path / name / "out.pt")]
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr[-2000:]
        (answer,) = [text for text in done.stdout.splitlines() if text.startswith("{")]
        found.append(json.loads(answer))
    np.testing.assert_allclose(found[0]["losses"], found[1]["losses"], rtol=1e-5)
    assert found[0]["bytes"] == found[1]["bytes"]
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"out.pt", "out.log.jsonl"}


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="device is cpu or cuda, got 'tpu'"):
        find_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="finds no CUDA device here"):
        find_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert find_device("cuda") == torch.device("cuda", 3)
