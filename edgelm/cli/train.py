"""`edgelm train`: a network from annotated photos; `edgelm curves`: how runs went. Need torch and matplotlib."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgelm.cli.bar import Bar
from edgelm.cli.models import Name, Supervisions, check_checkpoint, tell_alias
from edgelm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgelm.models.faults import Fault
    from edgelm.models.train import Progress

__all__ = ["register"]

_QUIET_S = 30.0
"""Without a terminal, seconds between two lines of progress."""


def train(
    name: Name,
    data: Annotated[Path, typer.Argument(help="Folder with train/ and val/, each in a format that eval reads.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write after every epoch (.pt).")],
    recipe: Annotated[
        str, typer.Option(help="cunet, bcll: the papers'; softmax: trains binary weights much sooner.")
    ] = "cunet",
    epochs: Annotated[int | None, typer.Option(min=1, help="By default the recipe's.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Photos per step.")] = 16,
    size: Annotated[int, typer.Option("--input", min=1, help="Side of the square input in px.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    bfloat16: Annotated[bool, typer.Option("--bf16", help="Mixed precision: faster on CPUs that compute it.")] = False,
    supervisions: Supervisions = None,
    memory_efficient: Annotated[
        bool, typer.Option("--memory-efficient", help="CU-Nets: less memory, more time, the same result.")
    ] = False,
    init: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Start from the same network, quantized in any way.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Imitate the heatmaps of this network, too.")
    ] = None,
    distill: Annotated[float, typer.Option(help="Share of the teacher's maps in the loss.")] = 0.5,
    ema: Annotated[float, typer.Option(min=0, help="Keep an average of the weights with this decay.")] = 0.0,
    occlusion: Annotated[float, typer.Option(min=0, max=1, help="Share of samples that get a patch of noise.")] = 0.0,
    gradient_bits: Annotated[
        int, typer.Option(help="Of binary layers' weight gradients, 2 to 15, as in CU-Net's code; 0 for float.")
    ] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    landmarks: Annotated[int, typer.Option(min=1, help="Landmarks to find.")] = 68,
    bad: Annotated[str, typer.Option(help="A sample that cannot be used: fail, or skip and count it.")] = "fail",
) -> None:
    """Train a network. Stopped and started again with the same options, it continues after the last whole epoch."""
    check_checkpoint(output)
    if bad not in ("fail", "skip"):
        raise UsageError(f"--bad is fail or skip, got {bad!r}")
    if not data.is_dir():
        raise UsageError(f"{data} is not a folder; expected one with train/ and val/ in it")
    from edgelm.models.train import TrainOptions
    from edgelm.models.train import train as run_training

    options = TrainOptions(
        name, data, output, recipe=recipe, epochs=epochs, batch=batch, size=size, seed=seed, threads=threads,
        bfloat16=bfloat16, supervisions=supervisions, memory_efficient=memory_efficient, init=init, teacher=teacher,
        distill=distill, landmarks=landmarks, ema=ema, occlusion=occlusion, gradient_bits=gradient_bits,
        device=device,
        bad="skip" if bad == "skip" else "fail",
    )  # fmt: skip
    if os.environ.get("RANK", "0") != "0":  # of the processes of torchrun, the first one speaks for all
        run_training(options)
        return
    tell_alias(name)
    with _Reporter() as report:
        run_training(options, report, report.left_out)
    typer.echo(f"wrote {output}")


class _Reporter(Bar):
    """Progress of a training; and a line per epoch, bar or not."""

    def __init__(self) -> None:
        super().__init__("reading the photos", _QUIET_S)
        self._begun = False

    def __call__(self, at: "Progress") -> None:
        if not self._begun and at.epoch > 1:
            self.say(f"continuing after epoch {at.epoch - 1}/{at.epochs}")
        self._begun = True
        if at.nme is not None:
            self.say(f"epoch {at.epoch}/{at.epochs}  loss {at.loss:.5f}  val NME {at.nme:.2f} {at.unit}")
            return
        text = f"epoch {at.epoch}/{at.epochs}  loss {at.loss:.5f}  {at.images_per_second:.1f} photos/s"
        text += _left(at.seconds_left)
        self.show(at.step, at.steps, f"{text}  step {at.step}/{at.steps}", text)

    def left_out(self, faults: "Sequence[Fault]") -> None:
        """Name the samples that cannot be used."""
        if faults:
            self.say(f"{len(faults)} samples are left out:")
        for fault in faults:
            self.say(str(fault))


def _left(seconds: float | None) -> str:
    """The time that the whole run will take, in words; nothing where it is about over."""
    if seconds is None or seconds < 6:
        return ""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"  {hours} h {minutes:02d} min left" if hours else f"  {max(minutes, 1)} min left"


def curves(
    logs: Annotated[list[Path], typer.Argument(help="Logs of training runs, NAME.log.jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write (.png).")],
) -> None:
    """Draw loss and validation error of training runs, one curve each."""
    if output.suffix.lower() != ".png":
        raise UsageError(f"expected a picture ending in .png, got {output}")
    from edgelm.atomic import check_output, write_atomic
    from edgelm.models.curves import curves_png, read_log

    check_output(output)
    write_atomic(output, curves_png([read_log(path) for path in logs]))
    typer.echo(f"wrote {output}")


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(train)
    app.command()(curves)
