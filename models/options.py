"""What a training run is asked for, and what it tells while it goes on. The run is `edgelm.models.train`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgelm.errors import UsageError
from edgelm.models.faults import Bad

__all__ = ["Progress", "TrainOptions", "with_time_left"]


@dataclass(frozen=True)
class TrainOptions:
    """What to train, on what, how long.

    Attributes:
        name: registered model name.
        data: folder with `train/` and `val/` below it, in any format of `edgelm.models.datasets`.
        output: checkpoint to write after each epoch (its `.resume` and `.log.jsonl` lie beside it).
        recipe: a name of `edgelm.models.recipes`.
        epochs: None takes the recipe's.
        batch: samples per step.
        size: side of the input in px.
        seed: of weights, order and augmentation.
        threads: of torch.
        bfloat16: mixed precision; about 1.5 times faster on CPUs with AVX-512 BF16 or AMX, slower on others.
        supervisions: heads of a network that has one for each U-Net, spread evenly; None for all.
        memory_efficient: make normalised maps anew in the backward pass, see `edgelm.models.brc`: less memory, more
            time, the same result, so that a run may go on with another choice.
        init: checkpoint of the same network, quantized in any way, whose weights are the first; None for random ones.
        teacher: checkpoint whose final maps are a second target; None for none.
        distill: weight of that target, of 1 for both.
        landmarks: of the network.
        ema: decay of an average of the weights, see `edgelm.models.average`, which is what is kept; 0 for none.
        occlusion: share of the samples that get a patch of noise.
        gradient_bits: of binary layers' weights, see `edgelm.models.optimizer.quantize_gradients`; 0 for none.
        device: "cpu" or "cuda".
        bad: whether the first sample that cannot be used is fatal, or all are left out.
    """

    name: str
    data: Path
    output: Path
    recipe: str = "cunet"
    epochs: int | None = None
    batch: int = 16
    size: int = 256
    seed: int = 0
    threads: int = 1
    bfloat16: bool = False
    supervisions: int | None = None
    memory_efficient: bool = False
    init: Path | None = None
    teacher: Path | None = None
    distill: float = 0.5
    landmarks: int = 68
    ema: float = 0.0
    occlusion: float = 0.0
    gradient_bits: int = 0
    device: str = "cpu"
    bad: Bad = "fail"

    def __post_init__(self) -> None:
        if not 0 < self.distill <= 1:
            raise UsageError(f"distill is above 0 and at most 1, got {self.distill}")
        for field, value in (("epochs", self.epochs), ("batch", self.batch), ("threads", self.threads)):
            if value is not None and value < 1:
                raise UsageError(f"{field} is at least 1, got {value}")


@dataclass(frozen=True)
class Progress:
    """Where a training run is; `nme` (percent of `unit`) is set once per epoch, after validation.

    `seconds_left` of the whole run is told after steps, at its pace since it was started or continued.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    nme: float | None = None
    unit: str = ""
    seconds_left: float | None = None


def with_time_left(
    report: Callable[[Progress], None], start: int, clock: Callable[[], float] = time.monotonic
) -> Callable[[Progress], None]:
    """`report` with `seconds_left` filled in, of a run that begins now and has done `start` epochs before."""
    began = clock()

    def timed(at: Progress) -> None:
        done = at.epoch - start - (1 - at.step / at.steps if at.steps else 0)
        report(replace(at, seconds_left=(clock() - began) * ((at.epochs - start) / done - 1)))

    return timed
