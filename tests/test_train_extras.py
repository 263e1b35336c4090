"""Averaged weights, gradients on a grid and hidden patches: slow twins, and what they are in a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import random_face
from torch import nn
from trainings import NAME, options

from edgelm.errors import UsageError
from edgelm.models import train as module
from edgelm.models.augment import Augmentation, make_batch
from edgelm.models.average import Average
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.create import create
from edgelm.models.data import Sample, tight_box
from edgelm.models.optimizer import quantize_gradients
from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.train import Progress, train

pytestmark = pytest.mark.usefixtures("known_probes")


@given(decay=st.sampled_from([0.0, 0.5, 0.99]), steps=st.integers(1, 30), seed=st.integers(0, 99))
def test_average_is_the_recursion(decay: float, steps: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    model = nn.BatchNorm2d(2)
    state = model.state_dict()
    average = Average(model, decay)
    expected = state["running_mean"].double().numpy().copy()
    value = np.zeros(2, np.float32)
    for n in range(steps):
        value = random.standard_normal(2).astype(np.float32)
        state["running_mean"].copy_(torch.from_numpy(value))
        state["num_batches_tracked"].add_(1)
        average.update()
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * value
    with average.applied():
        np.testing.assert_allclose(state["running_mean"].numpy(), expected, atol=1e-5)
        assert state["num_batches_tracked"] == steps
    np.testing.assert_array_equal(state["running_mean"].numpy(), value)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_refuses_decays(decay: float) -> None:
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        Average(nn.Linear(1, 1), decay)


def test_the_average_is_kept_and_a_killed_run_goes_on_bit_for_bit(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(options(faces, tmp_path / "whole", ema=0.9))
    plain = train(options(faces, tmp_path / "plain"))
    path = options(faces, tmp_path / "killed", ema=0.9)

    def kill(at: Progress) -> None:
        if at.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(path, kill)
    resumed = load_checkpoint(train(path)).model.state_dict()
    kept, last = (load_checkpoint(p).model.state_dict() for p in (whole, plain))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in kept.items())
    name = "convs.grow.weight"
    assert not torch.equal(kept[name], last[name])
    assert load_checkpoint(whole).notes["ema"] == "0.9"


@given(bits=st.integers(2, 15), seed=st.integers(0, 99))
def test_gradients_and_weights_lie_on_the_grid(bits: int, seed: int) -> None:
    torch.manual_seed(seed)
    _, model, _ = create(NAME, size=64)
    layer = next(m for m in model.modules() if isinstance(m, QuantConv2d))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    quantize_gradients(model, optimizer, bits)
    before = layer.weight.detach().numpy().copy()
    other = next(p for n, p in model.named_parameters() if "norm" in n)
    gradient = 2 * torch.randn(layer.weight.shape)
    layer.weight.grad, other.grad = gradient.clone(), torch.full_like(other, 0.123)
    start = other.detach().clone()
    optimizer.step()
    sigma = 2.0 ** (1 - bits)

    def grid(values: Any) -> Any:
        return np.clip(np.rint(values / sigma) * sigma, -1 + sigma, 1 - sigma)

    expected = grid(before - 0.25 * grid(gradient.numpy()))
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, atol=1e-6 if bits > 8 else 0)
    torch.testing.assert_close(other.detach(), start - 0.25 * 0.123)  # real parameters are left alone


@pytest.mark.parametrize("bits", [1, 16, -8])
def test_refuses_gradient_bits(bits: int) -> None:
    with pytest.raises(UsageError, match=r"2\.\.15 bits"):
        quantize_gradients(nn.Linear(1, 1), torch.optim.SGD([nn.Parameter(torch.zeros(1))]), bits)


def test_gradient_bits_and_occlusion_reach_the_run(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Augmentation] = []

    def watched(*given: Any) -> Any:
        seen.append(given[3])
        return make_batch(*given)

    monkeypatch.setattr(module, "make_batch", watched)
    read = load_checkpoint(train(options(faces, tmp_path, gradient_bits=8, occlusion=0.5, epochs=1)))
    assert {augmentation.occlusion for augmentation in seen} == {0.5}
    weight = read.model.state_dict()["convs.grow.weight"]
    torch.testing.assert_close(weight * 128, torch.round(weight * 128), atol=0, rtol=0)
    assert read.notes["gradient_bits"] == "8"


def test_occlusion_hides_a_rectangle_and_nothing_else() -> None:
    _, _, spec = create(NAME, size=64)
    image, xy = random_face(3)
    sample = Sample(Path("unused.png"), xy, tight_box(xy))
    hidden = 0
    for index in range(40):
        seeds = [[0, 0, index]]
        plain, points = make_batch([image], [sample], spec, Augmentation(), seeds)
        patched, same = make_batch([image], [sample], spec, Augmentation(occlusion=0.5), seeds)
        np.testing.assert_array_equal(points, same)
        changed = (plain != patched).any(axis=(0, 1))
        if not changed.any():
            continue
        hidden += 1
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 6 <= h <= 26
        assert 6 <= w <= 26
        assert changed.sum() > 0.9 * h * w
    assert 10 < hidden < 30


def test_a_full_disk_leaves_the_last_checkpoint(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def full(*given: Any, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device", str(given[0]))
        return save_checkpoint(*given, **more)

    monkeypatch.setattr(module, "save_checkpoint", full)
    run = options(faces, tmp_path)
    with pytest.raises(OSError, match="No space left"):
        train(run)
    assert load_checkpoint(run.output).notes["epochs"] == "1 of 2"
    monkeypatch.setattr(module, "save_checkpoint", save_checkpoint)
    assert load_checkpoint(train(run)).notes["epochs"] == "2 of 2"
