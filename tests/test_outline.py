"""Outlines of networks have the shapes of the networks."""

import pytest

pytest.importorskip("torch", reason="networks are torch modules")

import torch
from nets import probe_entry

from edgelm.models.outline import outline


def test_shapes_are_the_networks_and_nothing_has_memory() -> None:
    entry = probe_entry("bwa")
    whole = entry.family.build(entry.config, entry.scheme).eval()
    with outline():
        drawn = entry.family.build(entry.config, entry.scheme).eval()
        maps = drawn(torch.empty(2, 3, 64, 48))
    assert {k: v.shape for k, v in drawn.state_dict().items()} == {k: v.shape for k, v in whole.state_dict().items()}
    assert {v.device.type for v in (*drawn.state_dict().values(), *maps)} == {"meta"}
    assert [m.shape for m in maps] == [m.shape for m in whole(torch.rand(2, 3, 64, 48))]


def test_afterwards_torch_computes_again() -> None:
    with pytest.raises(ZeroDivisionError), outline():
        raise ZeroDivisionError
    x = torch.full((1, 1, 2, 2), -1.0)
    assert x.device.type == "cpu"
    assert not torch.relu(x).any()
    assert not torch.equal(x.clone().normal_(), x)
