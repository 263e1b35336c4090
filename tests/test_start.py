"""Training from other weights and with a teacher: what is taken over, what is refused, what it changes."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from nets import PROBE, ProbeConfig
from torch.nn import functional as F
from trainings import options

from edgelm.errors import UsageError
from edgelm.models import start
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.create import create, default_spec
from edgelm.models.losses import LOSSES
from edgelm.models.registry import SCHEMES, Entry
from edgelm.models.start import initialize, load_teacher, soft_target
from edgelm.models.train import train

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("known_probes")


@pytest.fixture(scope="module")
def twin(known_probes: None, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float network after an epoch."""
    return train(options(faces, tmp_path_factory.mktemp("twin"), name="probe", epochs=1, seed=7))


@pytest.mark.parametrize("suffix", ["", "-bw", "-tw", "-xnor"])
def test_takes_every_weight_over(twin: Path, suffix: str) -> None:
    entry, model, _ = create(f"probe{suffix}", size=64, seed=3)
    initialize(model, entry, twin)
    given = load_checkpoint(twin).model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given[name]), name


@pytest.mark.parametrize("suffix", ["-bwa-a8", "-bw-a6", "-tw-a8"])
def test_activations_begin_within_their_grid(twin: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps are those of float activations but for their steps; as they come, the grid would cut them off."""

    def maps(name: str) -> torch.Tensor:
        entry, model, _ = create(name, size=64, seed=3)
        initialize(model, entry, twin)
        with torch.no_grad():  # by the batch's own statistics, as the first step of a run
            last: torch.Tensor = model.train()(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)))[-1]
        return last

    wanted = maps("probe" + suffix.rpartition("-")[0])
    spread = wanted.std()
    assert (maps(f"probe{suffix}") - wanted).std() < 0.2 * spread
    monkeypatch.setattr(start, "GRID_HEADROOM", 1.0)
    assert (maps(f"probe{suffix}") - wanted).std() > 0.3 * spread


def test_what_lies_on_the_grid_already_stays(faces: Path, tmp_path: Path) -> None:
    path = train(options(faces, tmp_path, name="probe-bwa-a8", epochs=1))
    entry, model, _ = create("probe-tw-a8", size=64, seed=3)
    initialize(model, entry, path)
    given = load_checkpoint(path).model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given[name]), name


def test_the_first_step_begins_there(faces: Path, twin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no learning rate only the statistics move."""
    from edgelm.models import train as module
    from edgelm.models.recipes import RECIPES

    monkeypatch.setattr(module, "get_recipe", lambda name: replace(RECIPES[name], rate=0.0))
    path = train(options(faces, tmp_path, epochs=1, init=twin))
    made, given = load_checkpoint(path), load_checkpoint(twin).model.state_dict()
    for name, parameter in made.model.named_parameters():
        assert torch.equal(parameter.detach(), given[name]), name


def test_refuses_other_networks(twin: Path, tmp_path: Path) -> None:
    entry, model, spec = create("probe", size=64)
    other = replace(entry, config=ProbeConfig(5))
    with pytest.raises(UsageError, match=r"holds probe ProbeConfig\(classes=68\), which is not the network to train"):
        initialize(other.family.build(other.config, other.scheme), other, twin)
    with pytest.raises(UsageError, match=r"has nothing that fits convs.head.weight, convs.last.weight"):
        initialize(other.family.build(replace(other.config, classes=9), other.scheme), entry, twin)
    save_checkpoint(tmp_path / "a.pt", entry, model, replace(spec, input=replace(spec.input, height=128)))
    with pytest.raises(UsageError, match="has an input of its own"):
        load_teacher(tmp_path / "a.pt", spec, CPU)
    five = Entry("probe", PROBE, ProbeConfig(5), SCHEMES[""])
    save_checkpoint(tmp_path / "b.pt", five, five.family.build(five.config, five.scheme), default_spec(five, 64))
    with pytest.raises(UsageError, match="has landmarks of its own"):
        load_teacher(tmp_path / "b.pt", spec, CPU)


def test_a_teacher_changes_what_is_learnt(faces: Path, twin: Path, tmp_path: Path) -> None:
    states = []
    for folder, changes in (("a", {}), ("b", {"teacher": twin}), ("c", {"teacher": twin, "distill": 1.0})):
        path = train(options(faces, tmp_path / folder, epochs=1, **changes))
        states.append(load_checkpoint(path).model.state_dict())
    names = [name for name in states[0] if name.endswith("convs.grow.weight")]
    assert names
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert not torch.equal(states[a][names[0]], states[b][names[0]])


def test_a_teacher_is_not_trained(twin: Path) -> None:
    spec = load_checkpoint(twin).spec
    teach = load_teacher(twin, spec, CPU)
    maps = teach(torch.rand(2, 3, 64, 64))
    assert not maps.requires_grad
    assert maps.shape == (2, 68, 16, 16)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_teachers_own_maps_lose_least(loss: str) -> None:
    """A loss against a soft target is least where the student gives the teacher's maps."""
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    student = maps.clone().requires_grad_()
    LOSSES[loss](student, soft_target(loss, maps)).backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6
    if loss == "softmax":
        shares = soft_target(loss, maps).flatten(2)
        torch.testing.assert_close(shares, F.softmax(maps.flatten(2), -1))
        torch.testing.assert_close(shares.sum(-1), torch.ones(2, 3))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_refuses_shares(faces: Path, tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="distill is above 0 and at most 1"):
        options(faces, tmp_path, epochs=1, distill=share)
