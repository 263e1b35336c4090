"""Training runs, stops, and continues where it was killed, bit for bit."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from nets import write_faces
from trainings import NAME, KilledError, kill_after, options, weights

from edgelm.errors import EdgelmError, ModelFileError, UsageError
from edgelm.models import train as module
from edgelm.models.augment import make_batch
from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.create import create
from edgelm.models.optimizer import make_optimizer
from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.recipes import RECIPES
from edgelm.models.train import Progress, TrainOptions, train

FILES = {"out.pt", "out.resume", "out.log.jsonl"}
pytestmark = pytest.mark.usefixtures("known_probes")


@pytest.mark.parametrize("recipe", ["cunet", "softmax", "bcll"])
def test_two_epochs(recipe: str, faces: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    path = train(options(faces, tmp_path, recipe=recipe), seen.append)
    assert {p.name for p in tmp_path.iterdir()} == FILES - {"out.resume"}
    assert [(p.epoch, p.step, p.steps) for p in seen] == [
        (1, 1, 2), (1, 2, 2), (1, 0, 0), (2, 1, 2), (2, 2, 2), (2, 0, 0)
    ]  # fmt: skip
    assert [p.nme is not None for p in seen] == [False, False, True] * 2
    lines = [json.loads(line) for line in (tmp_path / "out.log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(np.isfinite([line["loss"], line["val_nme"]]).all() for line in lines)
    assert [p.nme for p in seen if p.nme is not None] == [line["val_nme"] for line in lines]
    loaded = load_checkpoint(path)
    assert not loaded.packed
    assert loaded.notes["recipe"] == recipe
    assert loaded.notes["epochs"] == "2 of 2"
    assert loaded.notes["val_nme_percent"] == f"{lines[-1]['val_nme']:.3f}"
    assert loaded.spec.score == {"cunet": "max", "softmax": "softmax_near", "bcll": "sigmoid_max"}[recipe]


def test_network_learns_its_six_faces(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = dataclasses.replace(RECIPES["softmax"], name="plain", augmentation=type(RECIPES["cunet"].augmentation)())
    monkeypatch.setitem(RECIPES, "plain", plain)
    train(options(faces, tmp_path, recipe="plain", epochs=30))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out.log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] - 0.5


def test_every_weight_is_trained(faces: Path, tmp_path: Path) -> None:
    first = weights(train(options(faces, tmp_path / "a", epochs=1)))
    entry, fresh, _ = create(NAME, size=64)
    assert entry.name == NAME
    same = [name for name, tensor in fresh.named_parameters() if torch.equal(tensor, first[name])]
    assert same == []


@pytest.mark.parametrize(("epoch", "step"), [(1, 0), (2, 1)])
@pytest.mark.parametrize("recipe", ["cunet", "softmax"])
def test_killed_and_resumed_is_the_same_bit_for_bit(
    recipe: str, epoch: int, step: int, faces: Path, tmp_path: Path
) -> None:
    whole = options(faces, tmp_path / "whole", recipe=recipe)
    train(whole)
    parts = options(faces, tmp_path / "parts", recipe=recipe)
    with pytest.raises(KilledError):
        train(parts, kill_after(epoch, step))
    assert {p.name for p in (tmp_path / "parts").iterdir()} == FILES
    assert load_checkpoint(parts.output).notes["epochs"] == "1 of 2"
    seen: list[Progress] = []
    train(parts, seen.append)
    assert {p.epoch for p in seen} == {2}
    assert not (tmp_path / "parts" / "out.resume").exists()
    expected, found = weights(whole.output), weights(parts.output)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


@pytest.mark.parametrize("killed", [False, True])
def test_settings_of_the_process_are_put_back(killed: bool, faces: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    with pytest.raises(KilledError) if killed else contextlib.nullcontext():
        train(options(faces, tmp_path, epochs=1, threads=threads + 1), kill_after(1) if killed else lambda _: None)
    assert torch.get_num_threads() == threads
    assert np.float32(1e-40) * np.float32(1) != 0  # a denormal


def test_seeds_differ(faces: Path, tmp_path: Path) -> None:
    one, two = (weights(train(options(faces, tmp_path / str(s), seed=s, epochs=1))) for s in (1, 2))
    assert not torch.equal(one["stem.weight"], two["stem.weight"])


@pytest.fixture
def killed(faces: Path, tmp_path: Path) -> TrainOptions:
    """The options of a run that was killed after its first epoch."""
    given = options(faces, tmp_path)
    with pytest.raises(KilledError):
        train(given, kill_after(1))
    return given


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch": 2}, {"epochs": 3}, {"recipe": "cunet"}])
def test_resume_with_other_options(change: dict[str, Any], killed: TrainOptions) -> None:
    before = killed.output.read_bytes()
    with pytest.raises(UsageError, match="other options; delete it"):
        train(dataclasses.replace(killed, **change))
    assert killed.output.read_bytes() == before


@pytest.mark.parametrize("damage", ["empty", "half", "foreign", "no model", "other model", "other optimizer"])
def test_damaged_resume_file(damage: str, killed: TrainOptions) -> None:
    path = killed.output.with_suffix(".resume")
    data = path.read_bytes()
    if damage in ("empty", "half"):
        path.write_bytes(data[: len(data) // 2] if damage == "half" else b"")
    elif damage == "foreign":
        torch.save({"state_dict": {}}, path)
    else:
        state = torch.load(path, weights_only=True)
        changes: dict[str, dict[str, Any]] = {
            "no model": {"model": None},
            "other model": {"model": {"a": torch.zeros(1)}},
            "other optimizer": {"optimizer": {"state": {}}},
        }
        torch.save(state | changes[damage], path)
    with pytest.raises(ModelFileError, match="delete it to start"):
        train(killed)


def test_loss_that_is_not_finite(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelm.models.objective.get_loss", lambda _: lambda output, __: output.sum() * float("nan"))
    with pytest.raises(EdgelmError, match="loss is nan in epoch 1, step 1"):
        train(options(faces, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_error_while_loading_reaches_the_caller(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise UsageError("broken sample")

    monkeypatch.setattr(module, "make_batch", broken)
    with pytest.raises(UsageError, match="broken sample"):
        train(options(faces, tmp_path))


def test_every_sample_is_changed_otherwise_in_every_epoch(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def keep(images: Any, samples: Any, spec: Any, augmentation: Any, seeds: Any) -> Any:
        seen.extend(tuple(map(int, seed)) for seed in seeds)
        return make_batch(images, samples, spec, augmentation, seeds)

    monkeypatch.setattr(module, "make_batch", keep)
    train(options(faces, tmp_path, seed=5))
    assert sorted(seen) == [(5, epoch, index) for epoch in range(2) for index in range(6)]
    assert seen[:6] != sorted(seen)[:6] or seen[6:] != sorted(seen)[6:]  # nor in the same order


def test_unreadable_image(faces: Path, tmp_path: Path) -> None:
    write_faces(tmp_path / "bad" / "train", 1)
    write_faces(tmp_path / "bad" / "val", 1)
    (tmp_path / "bad" / "train" / "0.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="not an image"):
        train(options(tmp_path / "bad", tmp_path))


def test_unknown_recipe_lists_the_known(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"known are cunet, .*softmax"):
        train(options(faces, tmp_path, recipe="fast"))


@pytest.mark.parametrize("field", ["epochs", "batch", "threads"])
def test_numbers_below_one(field: str, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{field} is at least 1"):
        options(faces, tmp_path, **{field: 0})


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*train; expected"):
        train(options(tmp_path, tmp_path))
    write_faces(tmp_path / "train", 1)
    with pytest.raises(UsageError, match=r"there is no .*val; expected"):
        train(options(tmp_path, tmp_path))


def test_binary_weights_do_not_decay() -> None:
    _, model, _ = create(NAME, size=64)
    optimizer, _ = make_optimizer(model, RECIPES["softmax"], 2, 2)
    decayed, kept = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0]
    master = {id(m.weight) for m in model.modules() if isinstance(m, QuantConv2d)}
    assert master <= kept
    assert decayed.isdisjoint(kept)
    assert decayed | kept == {id(p) for p in model.parameters()}
    assert len(decayed) == 2


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [("cunet", [1] * 15 + [0.1] * 3 + [0.01] * 2), ("softmax", None)],
)
def test_schedules(recipe: str, rates: list[float] | None) -> None:
    """20 steps in 10 epochs: drops at 75 % and 90 %; a warm-up over one epoch and then half a cosine."""
    _, model, _ = create(NAME, size=64)
    optimizer, schedule = make_optimizer(model, RECIPES[recipe], 10, 2)
    found = []
    for _ in range(20):
        found.append(optimizer.param_groups[0]["lr"] / RECIPES[recipe].rate)
        optimizer.step()
        schedule.step()
    if rates is None:
        rates = [0.5] + [0.5 * (1 + np.cos(np.pi * i / 20)) for i in range(1, 20)]
    np.testing.assert_allclose(found, rates, rtol=1e-6)


def test_bfloat16(faces: Path, tmp_path: Path) -> None:
    path = train(options(faces, tmp_path, bfloat16=True, epochs=1))
    assert all(t.dtype in (torch.float32, torch.int64) for t in weights(path).values())


def test_a_finished_run_is_not_overwritten(faces: Path, tmp_path: Path) -> None:
    given = options(faces, tmp_path, epochs=1)
    train(given)
    before = given.output.read_bytes()
    with pytest.raises(UsageError, match="is there already, of a run that has ended; name another file"):
        train(given)
    assert given.output.read_bytes() == before
