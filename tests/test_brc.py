"""Making maps anew in the backward pass gives what keeping them gives: outputs, gradients, statistics, checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")

import torch
from torch import nn
from typer.testing import CliRunner

from edgelm.cli.app import app
from edgelm.errors import UsageError
from edgelm.models.brc import set_recompute
from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.create import create
from edgelm.models.cunet import CUNet, CUNetConfig
from edgelm.models.dense_unet import DenseUNet, DenseUNetConfig
from edgelm.models.iterative import IterativeCUNet, IterativeCUNetConfig
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import alias_note, register_alias, resolve

NETWORKS: dict[str, Callable[[QuantScheme], nn.Module]] = {
    "cunet": lambda scheme: CUNet(CUNetConfig(2, 8, 4, classes=3), scheme),
    "denseunet": lambda scheme: DenseUNet(DenseUNetConfig(2, 8, 4, 3), scheme),
    "iterative": lambda scheme: IterativeCUNet(IterativeCUNetConfig(2, 8, 4, classes=3), scheme),
}


def stepped(name: str, scheme: QuantScheme, recompute: bool) -> tuple[list[torch.Tensor], nn.Module]:
    """Heatmaps of two training steps, and the network with the gradients of both."""
    torch.manual_seed(0)
    model = NETWORKS[name](scheme).train()
    assert set_recompute(model, recompute) > 20
    outputs = []
    for step in range(2):
        torch.manual_seed(step)
        made = model(torch.rand(2, 3, 64, 64))
        torch.stack([maps.square().mean() for maps in made]).sum().backward()
        outputs.append(made[-1].detach())
    return outputs, model


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scheme", [QuantScheme(), QuantScheme("bwa", 1)])
def test_the_same_result(name: str, scheme: QuantScheme) -> None:
    (plain, kept), (again, anew) = (stepped(name, scheme, recompute) for recompute in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    # The same operations on the same values: not a bit differs.
    gradients = dict(anew.named_parameters())
    for path, parameter in kept.named_parameters():
        assert parameter.grad is not None
        other = gradients[path].grad
        assert other is not None
        assert torch.equal(parameter.grad, other), path
    state = anew.state_dict()
    assert all(torch.equal(tensor, state[path]) for path, tensor in kept.state_dict().items())


def test_statistics_are_updated_once() -> None:
    _, model = stepped("cunet", QuantScheme("bwa"), True)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.num_batches_tracked.item() for m in norms if m.num_batches_tracked is not None} == {2}
    assert {m.momentum for m in norms} == {0.1}


def test_maps_are_not_kept() -> None:
    """Between the passes only what others hold anyway is kept: fewer bytes are saved for the backward pass."""

    def saved(recompute: bool) -> int:
        torch.manual_seed(0)
        model = NETWORKS["cunet"](QuantScheme()).train()
        set_recompute(model, recompute)
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            made = model(torch.rand(2, 3, 128, 128))
            total = sum(kept.values())
        assert made[-1].requires_grad
        return total

    assert saved(True) < 0.6 * saved(False)


def test_second_names(tmp_path: Path) -> None:
    assert resolve("dunet4-bw") == resolve("cunet4-bw")
    assert alias_note("cunet4-bw") is None
    for alias, network in (("dunet4", "cunet4"), ("cunet4", "cunet2"), ("new", "no-network")):
        with pytest.raises(UsageError, match=r"registered already|no network"):
            register_alias(alias, network, "a second name")
    path = tmp_path / "a.pt"
    made = CliRunner().invoke(app, ["new", "dunet2-m64n16-bw", "-o", str(path)])
    assert made.exit_code == 2
    made = CliRunner().invoke(app, ["new", "dunet2-bw", "--input", "64", "--supervisions", "1", "-o", str(path)])
    assert made.exit_code == 0, made.output
    assert "dunet2-bw is cunet2-bw" in made.output
    it = load_checkpoint(path)
    assert (it.entry.name, it.entry.config.supervised) == ("cunet2-bw", (1,))


def test_supervisions_of_other_networks() -> None:
    with pytest.raises(UsageError, match="fixed number of heads"):
        create("hrnetv2_w18", supervisions=1)
    with pytest.raises(UsageError, match=r"supervisions is 1\.\.2, got 3"):
        create("cunet2", supervisions=3)
