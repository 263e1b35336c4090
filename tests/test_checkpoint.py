"""A checkpoint comes back as it was saved, and packed ones are small."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="checkpoints are torch files")

import torch
from nets import SIZE, make, probe_entry
from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.checkpoint import checkpoint_bytes, load_checkpoint, save_checkpoint
from edgelm.models.create import default_spec, randomize
from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.registry import resolve

SCHEMES = ["bw", "bwa", "tw", "xnor", "bw-a8"]


def image(seed: int = 1) -> Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def run(model: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        outputs: list[Tensor] = model(x)
    return outputs


def quantized(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    with torch.no_grad():
        return [m.quantized() for m in model.modules() if isinstance(m, QuantConv2d)]


@pytest.mark.parametrize("scheme", ["float", *SCHEMES])
def test_float_round_trip_is_exact(scheme: str, tmp_path: Path) -> None:
    entry = probe_entry(scheme)
    model, spec = make(entry)
    size = save_checkpoint(tmp_path / "a.pt", entry, model, spec, notes={"epochs": "3 of 5"})
    assert size == (tmp_path / "a.pt").stat().st_size
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert (loaded.entry, loaded.spec, loaded.packed) == (entry, spec, False)
    assert loaded.notes == {"epochs": "3 of 5"}
    assert not loaded.model.training
    before, after = model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(torch.equal(a, b) for a, b in zip(run(model, image()), run(loaded.model, image()), strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_packed_round_trip(scheme: str, tmp_path: Path) -> None:
    entry = probe_entry(scheme)
    model, spec = make(entry)
    save_checkpoint(tmp_path / "p.pt", entry, model, spec, packed=True)
    loaded = load_checkpoint(tmp_path / "p.pt")
    assert loaded.packed
    expected, found = quantized(model), quantized(loaded.model)
    assert len(found) == 7
    for (levels, scale), (other_levels, other_scale) in zip(expected, found, strict=True):
        assert torch.equal(levels, other_levels)
        torch.testing.assert_close(other_scale, scale, rtol=2.0**-16, atol=0)
    if entry.scheme.act_bits == 32:  # else a rounded BatchNorm turns a level here and there
        for a, b in zip(run(model, image()), run(loaded.model, image()), strict=True):
            torch.testing.assert_close(b, a, rtol=0, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize("scheme", ["bwa", "xnor"])
def test_packed_norms_are_within_a_24_bit_float(scheme: str, tmp_path: Path) -> None:
    entry = probe_entry(scheme)
    model, spec = make(entry)
    save_checkpoint(tmp_path / "p.pt", entry, model, spec, packed=True)
    loaded = load_checkpoint(tmp_path / "p.pt").model
    pairs = [
        (a, b)
        for a, b in zip(model.modules(), loaded.modules(), strict=True)
        if isinstance(a, nn.BatchNorm2d) and isinstance(b, nn.BatchNorm2d)
    ]
    assert len(pairs) == 9
    for a, b in pairs:
        x = torch.randn(1, a.num_features, 5, 5)
        # Three roundings of 2^-17: scale, shift, and the order of the sums.
        with torch.no_grad():
            size = float((x * b.weight[:, None, None]).abs().max() + b.bias.abs().max())
            torch.testing.assert_close(b(x), a(x), rtol=0, atol=size * 2.0**-15)


def test_float_layers_stay_exact_in_a_packed_file(tmp_path: Path) -> None:
    entry = probe_entry("bw")
    model, spec = make(entry)
    save_checkpoint(tmp_path / "p.pt", entry, model, spec, packed=True)
    before, after = model.state_dict(), load_checkpoint(tmp_path / "p.pt").model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in ("stem.weight", "convs.last.weight"))


def test_packed_again_is_the_same(tmp_path: Path) -> None:
    entry = probe_entry("tw")
    model, spec = make(entry)
    once = checkpoint_bytes(entry, model, spec, packed=True)
    (tmp_path / "p.pt").write_bytes(once)
    loaded = load_checkpoint(tmp_path / "p.pt")
    (tmp_path / "again.pt").write_bytes(checkpoint_bytes(loaded.entry, loaded.model, loaded.spec, packed=True))
    first, again = (torch.load(tmp_path / name, weights_only=True) for name in ("p.pt", "again.pt"))
    arrays, others = first.pop("state"), again.pop("state")
    assert first == again
    assert all(torch.equal(arrays[k], others[k]) for k in arrays)


@pytest.mark.parametrize(("name", "least"), [("cunet2-bw", 18), ("cunet2-tw", 11), ("cunet8-bw", 24)])
def test_packed_size(name: str, least: float) -> None:
    """Against float32 of every number that the float network holds."""
    entry = resolve(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = entry.family.build(entry.config, entry.scheme)
    if name == "cunet2-bw":  # random statistics compress worse than fresh ones
        randomize(model, SIZE, 0)
    size = len(checkpoint_bytes(entry, model, default_spec(entry, SIZE), packed=True))
    whole = 4 * sum(p.numel() for p in model.parameters())
    assert whole / size >= least


def test_packed_cannot_be_trained(tmp_path: Path) -> None:
    entry = probe_entry("bw")
    model, spec = make(entry)
    save_checkpoint(tmp_path / "p.pt", entry, model, spec, packed=True)
    loaded = load_checkpoint(tmp_path / "p.pt").model
    with pytest.raises(UsageError, match="cannot be trained"):
        loaded.train()(image())


def test_float_weights_cannot_be_packed(tmp_path: Path) -> None:
    entry = probe_entry("float")
    model, spec = make(entry)
    with pytest.raises(UsageError, match="nothing to pack"):
        save_checkpoint(tmp_path / "p.pt", entry, model, spec, packed=True)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(tmp_path: Path) -> None:
    entry = probe_entry("bw")
    with pytest.raises(UsageError, match="does not exist"):
        save_checkpoint(tmp_path / "none" / "a.pt", entry, *make(entry))
