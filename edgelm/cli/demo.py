"""`make demo`: the whole road on real photos, from the bundled checkpoint to points on faces and a table of times.

Calls the same commands that a user would, and says each before running it.
"""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgelm import zoo
from edgelm.cli.app import app
from edgelm.cli.output import warn

__all__ = ["demo"]

_FACES = Path("..", "shared", "data", "faces68", "val")
_TARGETS = {"onnx": ".onnx", "tflite": ".tflite"}


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for models and pictures.")] = Path("out"),
) -> None:
    """Export the bundled checkpoint to ONNX and TFLite, find landmarks in photos with both, time them."""
    checkpoints = zoo.checkpoints()
    if not checkpoints:
        warn("this edgelm carries no checkpoint; train one with `edgelm train`")
        raise typer.Exit(1)
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoints[0]
    models, pictures = [], []
    for target, suffix in _TARGETS.items():
        model = output / f"{checkpoint.stem}{suffix}"
        _call("export", checkpoint, "--target", target, "-o", model)
        models.append(model)
    for photo in _photos():
        for model in models:
            picture = output / f"{photo.stem}-{model.suffix[1:]}.png"
            _call("run", model, photo, "-o", picture)
            pictures.append(picture)
    _call("bench", *models, "-o", output / "bench.json")
    typer.echo("\nThe pictures, to be looked at:")
    for picture in pictures:
        typer.echo(f"  {picture}")


def _photos() -> list[Path]:
    """The bundled portrait, and a face the model was not trained on where the data set lies beside the checkout."""
    portrait = zoo.photo()
    unseen = sorted(_FACES.glob("*.jpg"))[:1]
    return ([portrait] if portrait else []) + unseen


def _call(*words: object) -> None:
    """Run one command of the application in this process; its failure ends the demo."""
    command = [str(word) for word in words]
    typer.secho(f"\n$ edgelm {shlex.join(command)}", bold=True)
    try:
        app(command, prog_name="edgelm")
    except SystemExit as done:
        if done.code:
            raise


if __name__ == "__main__":
    main = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    main.command()(demo)
    main(prog_name="make demo")
