"""Heatmap targets, losses and landmark metrics."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="losses are computed by torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.decode import decode
from edgelm.errors import UsageError
from edgelm.models.losses import gaussian_maps, get_loss
from edgelm.models.metrics import nme, normalizers
from edgelm.schemes import flip_permutation, get_scheme


def test_window_is_the_papers() -> None:
    """exp(-d^2 / 9) on 7 x 7 px around the landmark, zero outside."""
    maps = gaussian_maps(torch.tensor([[[8.5, 9.5]]]), 16, 16, 3 / 2**0.5, window=7)[0, 0]
    assert int((maps > 0).sum()) == 49
    assert maps[9, 8] == 1
    assert float(maps[9, 11]) == pytest.approx(np.exp(-1), rel=1e-6)
    assert maps[9, 12] == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 15.99), st.floats(0, 11.99)), min_size=1, max_size=4), st.sampled_from([0.8, 1, 2])
)
def test_gaussian_peaks_decode_to_their_landmarks(points: list[tuple[float, float]], sigma: float) -> None:
    uv = torch.tensor([points])
    maps = gaussian_maps(uv, 12, 16, sigma)
    assert maps.shape == (1, len(points), 12, 16)
    found, score = decode(maps.numpy(), "center")
    inner = ((uv > 1) & (uv < torch.tensor([15.0, 11.0]))).all(-1).numpy()
    # A quarter pixel is what the rule can say; at the border it refines nothing.
    assert np.abs(found - uv.numpy())[inner].max(initial=0) <= 0.25 + 1e-4
    assert np.abs(found - uv.numpy()).max() <= 0.5 + 1e-4
    assert (score > np.exp(-0.25 / sigma**2) - 1e-4).all()


def test_gaussian_values() -> None:
    maps = gaussian_maps(torch.tensor([[[2.5, 1.5]]]), 4, 5, 3 / 2**0.5)[0, 0]
    assert maps[1, 2] == 1
    assert maps[3, 4] == pytest.approx(np.exp(-8 / 9), rel=1e-6)


@pytest.mark.parametrize("outside", [(-0.1, 5.0), (5.0, -0.1), (16.0, 5.0), (5.0, 12.0), (float("nan"), 5.0)])
def test_landmarks_outside_have_no_map(outside: tuple[float, float]) -> None:
    maps = gaussian_maps(torch.tensor([[outside, (5.0, 5.0)]]), 12, 16, 1.0)
    assert not maps[0, 1].isnan().any()
    if outside[0] == outside[0]:
        assert maps[0, 0].abs().sum() == 0
    assert maps[0, 1].sum() > 5


@pytest.mark.parametrize("name", ["mse", "softmax", "bce"])
def test_loss_is_smallest_at_the_target(name: str) -> None:
    target = gaussian_maps(torch.tensor([[[3.2, 4.1], [7.0, 2.0]]]), 8, 10, 1.0)
    best = {"mse": target, "softmax": target.clamp_min(1e-30).log(), "bce": target.logit(1e-6)}[name]
    loss = get_loss(name)
    torch.manual_seed(0)
    for _ in range(20):
        assert loss(best + 0.3 * torch.randn_like(best), target) > loss(best, target)
    if name == "softmax":  # the entropy of the target, so by Gibbs no output can do better
        share = target / target.sum((2, 3), keepdim=True)
        entropy = -(share * share.clamp_min(1e-30).log()).sum((2, 3)).mean()
        assert loss(best, target) == pytest.approx(float(entropy), rel=1e-4)


def test_bce_is_the_mean_over_pixels_of_the_cross_entropy_of_the_sigmoid() -> None:
    output, target = torch.randn(1, 2, 3, 4), torch.rand(1, 2, 3, 4)
    shown = output.sigmoid()
    expected = -(target * shown.log() + (1 - target) * (1 - shown).log()).mean()
    assert float(get_loss("bce")(output, target)) == pytest.approx(float(expected), rel=1e-5)


def test_softmax_loss_ignores_maps_without_target() -> None:
    target = gaussian_maps(torch.tensor([[[3.0, 4.0], [-5.0, 2.0]]]), 8, 10, 1.0)
    output = torch.randn(1, 2, 8, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = get_loss("softmax")(output, target)
    assert float(loss.detach()) == pytest.approx(float(get_loss("softmax")(output[:, :1], target[:, :1]).detach()))
    loss.backward()
    assert output.grad is not None
    assert output.grad[0, 0].abs().sum() > 0
    assert output.grad[0, 1].abs().sum() == 0


@pytest.mark.parametrize("name", ["mse", "softmax", "bce"])
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_gradient_is_finite(name: str, size: float) -> None:
    output = (torch.randn(1, 2, 8, 10, generator=torch.Generator().manual_seed(0)) * size).requires_grad_()
    for target in (torch.zeros(1, 2, 8, 10), gaussian_maps(torch.tensor([[[0.0, 0.0], [9.9, 7.9]]]), 8, 10, 1.0)):
        get_loss(name)(output, target).backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_nme_by_hand() -> None:
    truth = np.zeros((2, 68, 2), np.float32)
    truth[:, 45] = [30, 40]  # 50 px from landmark 36
    found = truth.copy()
    found[0] += [3, 4]
    found[1, 7] += [0, 34]
    np.testing.assert_allclose(normalizers(truth, "300w68"), [50, 50])
    np.testing.assert_allclose(nme(found, truth, "300w68"), [10, 1])


@pytest.mark.parametrize(("scheme", "eyes"), [("300w68", (36, 45)), ("wflw98", (60, 72)), ("cofw29", (8, 9))])
def test_eye_corners_mirror_each_other(scheme: str, eyes: tuple[int, int]) -> None:
    order = flip_permutation(get_scheme(scheme))
    assert order[eyes[0]] == eyes[1]
    truth = np.zeros((1, len(order), 2))
    truth[0, eyes[0]] = [0, 9]
    assert normalizers(truth, scheme) == [9]


def test_scheme_without_metric() -> None:
    with pytest.raises(UsageError, match="known are 300w68"):
        normalizers(np.zeros((1, 16, 2)), "mpii16")


def test_unknown_loss_lists_the_known() -> None:
    with pytest.raises(UsageError, match="known are mse, softmax"):
        get_loss("l1")
