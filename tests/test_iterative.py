"""Iterative CU-Net: two passes that share every convolution, in checkpoints and exported files too."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")

import torch
from torch import nn

from edgelm.errors import UsageError
from edgelm.models.brc import Brc
from edgelm.models.checkpoint import checkpoint_bytes, load_checkpoint, save_checkpoint
from edgelm.models.count import conv_weights
from edgelm.models.create import default_spec, randomize
from edgelm.models.cunet import CUNet, CUNetConfig
from edgelm.models.iterative import IterativeCUNet, IterativeCUNetConfig
from edgelm.models.outline import outline
from edgelm.models.quant_conv import freeze
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import ITERATIVE, SCHEMES, Entry

TINY = IterativeCUNetConfig(2, 8, 4, 1, 5, refine_growth=3)


def tiny(scheme: QuantScheme = SCHEMES["-bwa"], config: IterativeCUNetConfig = TINY) -> IterativeCUNet:
    torch.manual_seed(0)
    return IterativeCUNet(config, scheme)


def entry(scheme: str) -> Entry:
    return Entry(f"tiny{scheme}", ITERATIVE, TINY, SCHEMES[scheme])


def test_extra_weights_are_the_papers() -> None:
    with outline():
        extra = conv_weights(IterativeCUNet(IterativeCUNetConfig(classes=16), QuantScheme("bw")))
        plain = conv_weights(CUNet(CUNetConfig(4, classes=16), QuantScheme("bw")))
    assert (plain, extra - plain) == (3_901_824, 202_240)


def test_passes_share_convolutions_and_no_statistics() -> None:
    model = tiny()
    early = {path: unit for path, unit in model.first.named_modules() if isinstance(unit, Brc)}
    assert len(early) == 9 * 2 + 4 * 2 + 5 + 1 + 1  # squeeze and grow, streams down, streams up, join, head
    for path, unit in early.items():
        later = model.get_submodule(path)
        assert isinstance(later, Brc)
        assert unit.conv is later.conv
        assert unit.norm is not later.norm


def test_second_pass_is_the_row_on_the_refined_input() -> None:
    model = tiny(config=IterativeCUNetConfig(3, 8, 4, 2, 5)).eval()
    x = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        entered = model.enter(x)
        row = CUNet(CUNetConfig(3, 8, 4, 2, 5), model.scheme).eval()  # the slow twin of the first pass, run whole
        state = model.state_dict()
        row.load_state_dict(
            {k: state.get(f"first.{k}", v) for k, v in row.state_dict().items()}
            | {k: v for k, v in state.items() if k.startswith("stem")}
        )
        seen: list[torch.Tensor] = []
        row.nets[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        early = row(x)[:-1]
        refined = model.refine(entered, seen[0])
        expected = [*early, *model.couple(refined)[0]]
        found = model(x)
    assert len(found) == 5
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_refinement_is_densely_connected() -> None:
    refine = tiny().refine
    assert [m.num_features for m in refine.layers.modules() if isinstance(m, nn.BatchNorm2d)] == [16, 19, 22, 25]
    assert refine.out.norm.num_features == 28


def test_every_parameter_gets_a_gradient() -> None:
    model = tiny().train()
    sum(o.square().sum() for o in model(torch.rand(2, 3, 128, 128))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("bad", [{"nets": 1}, {"refine_growth": 0}, {"classes": 0}])
def test_wrong_config(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        IterativeCUNetConfig(**bad)


def test_wrong_input_size() -> None:
    with pytest.raises(UsageError, match=r"multiples of 64 px, got \(64, 96\)"):
        tiny()(torch.rand(1, 3, 64, 96))


def saved(folder: Path, scheme: str, *, packed: bool) -> tuple[Path, nn.Module]:
    it = entry(scheme)
    model = tiny(it.scheme)
    randomize(model, 64, 3)
    save_checkpoint(folder / "tiny.pt", it, model, default_spec(it, 64), packed=packed)
    return folder / "tiny.pt", model


@pytest.mark.parametrize("packed", [False, True])
def test_checkpoints_share_too(tmp_path: Path, packed: bool) -> None:
    path, model = saved(tmp_path, "-bwa", packed=packed)
    again = load_checkpoint(path).model
    assert isinstance(again, IterativeCUNet)
    assert all(again.get_submodule(p).conv is u.conv for p, u in again.first.named_modules() if isinstance(u, Brc))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = freeze(model)(x)[-1], freeze(again)(x)[-1]
    # A packed file rounds scales to 2^-17; some fifty layers deep that adds up.
    assert torch.allclose(found, expected, rtol=0, atol=1e-2 * float(expected.abs().max()) if packed else 0)


def test_a_checkpoint_stores_shared_weights_once() -> None:
    it = entry("-bw")
    spec = default_spec(it, 64)
    shared = tiny(it.scheme)
    apart = tiny(it.scheme)
    for path, unit in apart.first.named_modules():
        if isinstance(unit, Brc):
            torch.manual_seed(len(path))
            unit.conv = type(unit)("spatial", unit.norm.num_features, 8, 3, it.scheme).conv
    for packed in (False, True):
        assert len(checkpoint_bytes(it, shared, spec, packed=packed)) < len(
            checkpoint_bytes(it, apart, spec, packed=packed)
        )
