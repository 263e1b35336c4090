"""Damaged, foreign and hostile checkpoints are refused with a sentence: never another exception, never code run."""

import re
import resource
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="checkpoints are torch files")

import torch
from nets import SIZE, make, probe_entry
from torch import Tensor

from edgelm.errors import EdgelmError, ModelFileError, UsageError
from edgelm.models.checkpoint import checkpoint_bytes, load_checkpoint, save_checkpoint
from edgelm.models.create import default_spec
from edgelm.models.cunet import CUNetConfig
from edgelm.models.registry import Entry, get_family, resolve


def refused(path: Path, match: str | None = None) -> None:
    """Reading raises one of edgelm's errors with a sentence, and writes nothing."""
    before = sorted(path.parent.iterdir())
    with pytest.raises((ModelFileError, UsageError), match=match) as caught:
        load_checkpoint(path)
    assert re.search(r"\w+ \w+ \w+", str(caught.value))
    assert sorted(path.parent.iterdir()) == before


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", "edgelm new")
    refused(tmp_path, "is not a file")


@pytest.mark.parametrize("data", [b"", b"\0", b"PK\3\4", b"no checkpoint" * 100])
def test_not_a_checkpoint(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(data)
    refused(tmp_path / "a.pt", "damaged or a checkpoint of another tool")


@pytest.mark.parametrize("packed", [False, True])
def test_truncated(packed: bool, tmp_path: Path) -> None:
    entry = probe_entry("bw")
    whole = checkpoint_bytes(entry, *make(entry), packed=packed)
    for part in range(7):
        (tmp_path / "a.pt").write_bytes(whole[: len(whole) * part // 7])
        refused(tmp_path / "a.pt", "damaged or a checkpoint of another tool")


def test_flipped_bytes(tmp_path: Path) -> None:
    """A damaged byte is refused or harmless, but never another exception."""
    entry = probe_entry("bw")
    whole = checkpoint_bytes(entry, *make(entry), packed=True)
    path = tmp_path / "a.pt"
    for place in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            load_checkpoint(path)
        except EdgelmError as error:
            assert str(path) in str(error)  # noqa: PT017 not every place is noticed, so `raises` does not fit


class _Code:
    """A pickle that creates a file when it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_code_is_not_executed(tmp_path: Path) -> None:
    torch.save({"format": "edgelm.checkpoint", "version": 1, "state": _Code(tmp_path / "owned")}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "damaged or a checkpoint of another tool")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], "text", {}, {"format": "other"}])
def test_foreign_checkpoint(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "another tool")


def _set(*path: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return change


def _blob(size: int) -> Tensor:
    return torch.frombuffer(bytearray(zlib.compress(bytes(size))), dtype=torch.uint8)


CHANGES = {
    "version": (_set("version", to=2), "upgrade edgelm"),
    "no version": (lambda c: c.pop("version"), "upgrade edgelm"),
    "architecture": (_set("architecture", to="resnet"), "known are cunet"),
    "architecture of another type": (_set("architecture", to=["cunet"]), "damaged"),
    "config out of range": (_set("config", "classes", to=10**9), None),
    "unknown hyper-parameter": (_set("config", "depth", to=3), "depth"),
    "config of another type": (_set("config", to=7), "damaged"),
    "weights": (_set("scheme", "weights", to="qw"), "no weight quantizer"),
    "activations": (_set("scheme", "act_bits", to=11), "bits"),
    "activations of another type": (_set("scheme", "act_bits", to="8"), "bits"),
    "no state": (lambda c: c.pop("state"), "damaged"),
    "state of another type": (_set("state", to=[1]), "packed arrays"),
    "one array missing": (lambda c: c["state"].pop("small"), "packed arrays"),
    "array of another type": (_set("state", "small", to="text"), "damaged"),
    "array not compressed": (_set("state", "levels", to=torch.zeros(50, dtype=torch.uint8)), "cannot be unpacked"),
    "array too short": (_set("state", "levels", to=_blob(5)), "another size"),
    "array too long": (_set("state", "levels", to=_blob(10**6)), "another size"),
    "scales too short": (_set("state", "small", to=_blob(0)), "another size"),
    "float weights too long": (_set("state", "exact", to=_blob(10**5)), "another size"),
    "array of floats": (_set("state", "levels", to=torch.zeros(9)), "cannot be unpacked"),
    "spec is no JSON": (_set("spec", to="{"), "JSON"),
    "spec of another type": (_set("spec", to=7), None),
    "name of another type": (_set("notes", to=5), "damaged"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_damaged_content(what: str, tmp_path: Path) -> None:
    entry = probe_entry("bw")
    path = tmp_path / "a.pt"
    save_checkpoint(path, entry, *make(entry), packed=True)
    content = torch.load(path, weights_only=True)
    change, match = CHANGES[what]
    change(content)
    torch.save(content, path)
    refused(path, match)


@pytest.mark.parametrize(
    "config", [{"nets": 10**6}, {"width": 0}, {"width": "128"}, {"supervisions": 3}, {"order": -1}, {"growth": 2.5}]
)
def test_cunet_config_out_of_range(config: dict[str, Any], tmp_path: Path) -> None:
    entry = Entry("tiny", get_family("cunet"), CUNetConfig(2, 8, 4, 1, 5), probe_entry("bw").scheme)
    path = tmp_path / "a.pt"
    save_checkpoint(path, entry, *make(entry))
    content = torch.load(path, weights_only=True)
    content["config"] |= config
    torch.save(content, path)
    refused(path, next(iter(config)))


def test_unused_code_of_ternary_weights(tmp_path: Path) -> None:
    entry = probe_entry("tw")
    path = tmp_path / "a.pt"
    save_checkpoint(path, entry, *make(entry), packed=True)
    content = torch.load(path, weights_only=True)
    levels = zlib.decompress(content["state"]["levels"].numpy().tobytes())
    content["state"]["levels"] = torch.frombuffer(bytearray(zlib.compress(b"\xff" * len(levels))), dtype=torch.uint8)
    torch.save(content, path)
    refused(path, "code 3")


def test_decompression_bomb(tmp_path: Path) -> None:
    """A megabyte that stands for a gigabyte is not unpacked."""
    packer = zlib.compressobj(9)
    # After a full flush the stream goes on as if it were new, so that one block stands for all that follow.
    first, next_ = (packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    checksum = (((1 << 30) % 65521) << 16 | 1).to_bytes(4, "big")
    bomb = first + 63 * next_ + packer.flush()[:-4] + checksum
    entry = probe_entry("bw")
    path = tmp_path / "a.pt"
    save_checkpoint(path, entry, *make(entry), packed=True)
    content = torch.load(path, weights_only=True)
    content["state"]["levels"] = torch.frombuffer(bytearray(bomb), dtype=torch.uint8)
    torch.save(content, path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, "another size")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_spec_of_other_landmarks(tmp_path: Path) -> None:
    entry = probe_entry("bw")
    model, _ = make(entry)
    save_checkpoint(tmp_path / "a.pt", entry, model, default_spec(resolve("cunet2"), SIZE))
    refused(tmp_path / "a.pt", "5 heatmaps but a scheme of 68")


@pytest.mark.parametrize("change", ["shape", "missing", "extra", "type"])
def test_damaged_float_state(change: str, tmp_path: Path) -> None:
    entry = probe_entry("float")
    path = tmp_path / "a.pt"
    save_checkpoint(path, entry, *make(entry))
    content = torch.load(path, weights_only=True)
    state = content["state"]
    if change == "shape":
        state["stem.weight"] = torch.zeros(3)
    elif change == "missing":
        del state["stem.weight"]
    elif change == "extra":
        state["other"] = torch.zeros(3)
    else:
        state["stem.weight"] = "text"
    torch.save(content, path)
    refused(path, "damaged")
