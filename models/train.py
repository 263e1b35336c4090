"""Train a landmark network on a folder of faces; resumable after each epoch.

Reading and augmenting samples, losses and recipes live in their own files; here is the loop that joins them.
N = batch, K = landmarks, H, W = heatmap height and width.
"""

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelm.errors import EdgelmError, UsageError
from edgelm.models.ahead import ahead
from edgelm.models.augment import make_batch
from edgelm.models.average import Average
from edgelm.models.brc import set_recompute
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.create import create
from edgelm.models.data import Sample, sample_image
from edgelm.models.datasets import open_data
from edgelm.models.evaluate import evaluate
from edgelm.models.faults import Fault, Faults
from edgelm.models.log import log_epoch, log_path
from edgelm.models.losses import SCORES
from edgelm.models.objective import Objective
from edgelm.models.optimizer import make_optimizer, quantize_gradients
from edgelm.models.options import Progress, TrainOptions, with_time_left
from edgelm.models.recipes import get_recipe
from edgelm.models.resume import load_resume, resume_path, save_resume
from edgelm.models.start import initialize, load_teacher
from edgelm.models.team import Team, find_device, join_team
from edgelm.spec import ModelSpec

__all__ = ["Progress", "TrainOptions", "train"]


def train(
    options: TrainOptions,
    report: Callable[[Progress], None] = lambda _: None,
    told: Callable[[Sequence[Fault]], None] = lambda _: None,
) -> Path:
    """Train, writing a checkpoint after every epoch; started again with the same options it continues.

    Args:
        options: what, on what, how long.
        report: called after every step and every epoch.
        told: called once, with the samples that are left out.

    Returns:
        the path of the float checkpoint of the last epoch.

    Raises:
        UsageError: unknown names, an unusable data folder, a resume file of other options, or an output that is there.
        EdgelmError: the loss is not finite, or the disk is full.
    """
    device = find_device(options.device)
    with _tuned(options.threads), join_team(device) as team:
        if team.rank:
            return _train(options, device, team, lambda _: None, lambda _: None)
        return _train(options, device, team, report, told)


@contextlib.contextmanager
def _tuned(threads: int) -> Iterator[None]:
    """Threads, and no denormals, which are slow; both are settings of the process and put back afterwards."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        torch.set_flush_denormal(False)
        cv2.setNumThreads(cv2_threads)


def _read(folder: Path, spec: ModelSpec, faults: Faults) -> tuple[list[Sample], list[NDArray[np.uint8]]]:
    """The samples of a folder that can be used, and their images."""
    used, images = [], []
    for sample in open_data(folder, spec.scheme, faults=faults)[1]:
        with faults.guard(sample.path):
            images.append(sample_image(sample))
            used.append(sample)
    if not used:
        raise UsageError(f"{folder} holds no sample that can be used")
    return used, images


def _train(
    options: TrainOptions,
    device: torch.device,
    team: Team,
    report: Callable[[Progress], None],
    told: Callable[[Sequence[Fault]], None],
) -> Path:
    recipe = get_recipe(options.recipe)
    if options.occlusion:
        recipe = replace(recipe, augmentation=replace(recipe.augmentation, occlusion=options.occlusion))
    epochs = options.epochs or recipe.epochs
    entry, model, spec = create(
        options.name,
        landmarks=options.landmarks,
        size=options.size,
        seed=options.seed,
        supervisions=options.supervisions,
    )
    if options.memory_efficient and not set_recompute(model, True):
        raise UsageError(f"{entry.name} has no maps to make anew; leave out memory_efficient")
    spec = replace(spec, score=SCORES[recipe.loss])
    if options.init is not None:
        initialize(model, entry, options.init)
    teacher = None if options.teacher is None else load_teacher(options.teacher, spec, device)
    faults = Faults(options.bad)
    training, images = _read(options.data / "train", spec, faults)
    validation, _ = _read(options.data / "val", spec, faults)
    evaluate(model, spec, validation[:1])  # refuses a scheme without a metric before the hours
    told(faults.found)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
    objective = Objective(recipe, spec, teacher, options.distill, options.bfloat16, device, team)
    average = Average(model, options.ema) if options.ema else None
    optimizer, schedule = make_optimizer(model, recipe, epochs, -(-len(training) // options.batch))
    if options.gradient_bits:
        quantize_gradients(model, optimizer, options.gradient_bits)
    same = {k: str(v) for k, v in asdict(options).items() if k != "memory_efficient"}
    processes = {"processes": team.size} if team.size > 1 else {}
    fingerprint = json.dumps({**same, "epochs": epochs, **processes}, sort_keys=True)
    start = load_resume(options.output, fingerprint, model, optimizer, schedule, average)
    if start == 0 and options.output.exists():
        raise UsageError(
            f"{options.output} is there already, of a run that has ended; name another file, or delete it first"
        )
    team.wait()  # before the first of them writes
    network = team.wrapped(model)
    report = with_time_left(report, start)
    for epoch in range(start, epochs):
        place = epoch, epochs
        loss = _epoch(network, team, objective, average, options, optimizer, schedule, training, images, place, report)
        if team.rank:
            team.wait()
            continue
        with average.applied() if average else contextlib.nullcontext():
            measured = evaluate(model, spec, validation)
            kept = copy.deepcopy(model)
        error = float(np.nanmean(measured.errors))
        row = {"epoch": epoch + 1, "loss": loss, "val_nme": error, "time": time.time()}
        log_epoch(log_path(options.output), row, continued=epoch > 0)
        notes = {
            "recipe": recipe.name,
            "loss": recipe.loss,
            "epochs": f"{epoch + 1} of {epochs}",
            "val_nme_percent": f"{error:.3f}",
            "val_nme_of": measured.unit,
            **({"init": options.init.name} if options.init else {}),
            **({"ema": f"{options.ema:g}"} if options.ema else {}),
            **({"gradient_bits": f"{options.gradient_bits}"} if options.gradient_bits else {}),
            **({"teacher": f"{options.teacher.name}, weight {options.distill:g}"} if options.teacher else {}),
        }
        # In this order: a checkpoint without a state beside it is that of a run that has ended.
        if epoch + 1 < epochs:
            save_resume(options.output, fingerprint, epoch + 1, model, optimizer, schedule, average)
        save_checkpoint(options.output, entry, kept, spec, notes=notes)
        report(Progress(epoch + 1, epochs, 0, 0, loss, 0.0, error, measured.unit))
        team.wait()
    if not team.rank:
        resume_path(options.output).unlink(missing_ok=True)
    return options.output


def _epoch(
    model: nn.Module,
    team: Team,
    objective: Objective,
    average: Average | None,
    options: TrainOptions,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    samples: Sequence[Sample],
    images: Sequence[NDArray[np.uint8]],
    place: tuple[int, int],
    report: Callable[[Progress], None],
) -> float:
    """One pass over the samples; the mean loss."""
    epoch, epochs = place
    order = np.random.default_rng([options.seed, epoch]).permutation(len(samples))
    batches = [team.share(order[i : i + options.batch]) for i in range(0, len(order), options.batch)]

    def load(part: tuple[NDArray[np.int64], bool]) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
        batch, counts = part
        seeds = [[options.seed, epoch, int(i)] for i in batch]
        chosen = [images[i] for i in batch], [samples[i] for i in batch]
        return *make_batch(*chosen, objective.spec, objective.recipe.augmentation, seeds), counts

    model.train()
    total, began = 0.0, time.monotonic()
    for step, (x, xy, counts) in enumerate(ahead(load, batches)):
        loss = objective(model, x, xy, counts=counts)
        value = team.mean(loss)
        if not np.isfinite(value):
            raise EdgelmError(
                f"the loss is {value} in epoch {epoch + 1}, step {step + 1}; take a smaller learning rate"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if average is not None:
            average.update()
        total += value
        speed = (step + 1) * options.batch / (time.monotonic() - began)
        report(Progress(epoch + 1, epochs, step + 1, len(batches), total / (step + 1), speed))
    return total / len(batches)
