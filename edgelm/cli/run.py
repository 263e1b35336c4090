"""`edgelm run` and `edgelm selftest`: use a model file. They need one engine, not torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from edgelm.atomic import atomic_path, check_output
from edgelm.cli.detector import DetectorName, open_detector
from edgelm.cli.output import human, print_json
from edgelm.cli.save import SaveCsv, SaveJson, check_saves, save
from edgelm.cli.video import VideoRun, is_video, run_video
from edgelm.errors import EdgelmError, UsageError, VerificationError
from edgelm.opencv import import_cv2

if TYPE_CHECKING:
    from edgelm.refine import Refine

__all__ = ["register"]

Model = Annotated[Path, typer.Argument(help="A model file: .onnx or .tflite.")]
Threads = Annotated[int, typer.Option(help="Threads of the engine.")]
Engine = Annotated[str | None, typer.Option(help="onnx or tflite; by default the suffix says it.")]
LowMemory = Annotated[
    bool, typer.Option("--low-memory", help="Keep low-bit weights under two bits each; somewhat slower.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run(
    model: Model,
    image: Annotated[Path, typer.Argument(help="A photo, a video, a folder of images, or a camera's number.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the photo or video with the points on it.")
    ] = None,
    box: Annotated[list[str] | None, typer.Option(help="x1,y1,x2,y2 in px; may be repeated.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="JSON file: [[x1, y1, x2, y2], ...].")] = None,
    detector: DetectorName = "haar",
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Run the mirror image too: twice the time.")] = False,
    refinement: Annotated[
        str, typer.Option(help="Of the peaks: rule (as the network was evaluated), none, soft_argmax or dark.")
    ] = "rule",
    save_json: SaveJson = None,
    save_csv: SaveCsv = None,
    threads: Threads = 1,
    engine: Engine = None,
    low_memory: LowMemory = False,
    as_json: AsJson = False,
    detect_every: Annotated[int, typer.Option(help="Of a video: frames from one look for faces to the next.")] = 10,
    smooth: Annotated[bool, typer.Option(help="Of a video: calm the points with a One Euro filter.")] = True,
    fps: Annotated[float | None, typer.Option(help="Frames per second, where the source says none or wrong.")] = None,
) -> None:
    """Find the landmarks in a photo or video; without boxes, faces are looked for first."""
    if is_video(image):
        run_video(
            VideoRun(
                model=model,
                source=image,
                output=output,
                boxes=_boxes(box, boxes),
                threads=threads,
                engine=engine,
                low_memory=low_memory,
                as_json=as_json,
                detect_every=detect_every,
                smooth=smooth,
                fps=fps,
                detector=detector,
                flip_test=flip_test,
                refinement=cast("Refine", refinement),
                save_json=save_json,
                save_csv=save_csv,
            )
        )
        return
    if output is None and save_json is None and save_csv is None and not as_json:
        raise UsageError(
            "say where the picture goes with -o OUT.png, or ask for the points with --json, --save-json or --save-csv"
        )
    check_saves(output, save_json, save_csv)
    if output is not None:
        _check_picture(output)
    from edgelm.images import read_image
    from edgelm.runtimes.runtime import Runtime

    with human(as_json):
        given = _boxes(box, boxes)
        photo = read_image(image)
        runtime = Runtime(model, threads=threads, engine=engine, low_memory=low_memory)
        looks, name = open_detector(detector) if given is None and runtime.spec.task == "face" else (None, "")
        result = runtime(photo, given, detector=looks, flip_test=flip_test, refinement=cast("Refine", refinement))
        if given is None:
            typer.echo(f"faces: {len(result)} found by {name}")
            if not len(result):
                raise EdgelmError(
                    f"no face was found in {image}; say where it is with --box x1,y1,x2,y2 (the detector misses turned "
                    "and small faces)"
                )
        else:
            typer.echo(f"boxes: {len(result)} given")
        typer.echo(f"model: {model.name} on {runtime.session.engine_version}, {threads} thread{'s' * (threads > 1)}")
        typer.echo("times: " + ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in result.times.items() if ms))
        if output is not None:
            _write_picture(output, result.draw(photo))
            typer.echo(f"wrote: {output}")
        report = {"model": str(model), "image": str(image), "output": output and str(output), **result.to_dict()}
        for path in save(report, result, save_json, save_csv):
            typer.echo(f"wrote: {path}")
    if as_json:
        print_json(report)


def _boxes(texts: list[str] | None, file: Path | None) -> Any:
    """The boxes asked for (N, 4) xyxy px, or None to look for faces."""
    import numpy as np

    from edgelm.boxes import parse_box, read_boxes

    if texts and file:
        raise UsageError("give --box or --boxes, not both")
    if file is not None:
        return read_boxes(file)
    return np.concatenate([parse_box(text) for text in texts]) if texts else None


def _check_picture(path: Path) -> None:
    cv2 = import_cv2()

    check_output(path)
    if not path.suffix or not cv2.haveImageWriter(path.name):
        raise UsageError(f"no picture format is known by the suffix of {path}; use .png or .jpg")


def _write_picture(path: Path, picture: Any) -> None:
    cv2 = import_cv2()

    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), picture):
            raise EdgelmError(f"cannot write {path}: OpenCV refused; is the disk full?")


def selftest(
    model: Model,
    threads: Threads = 1,
    engine: Engine = None,
    low_memory: LowMemory = False,
    as_json: AsJson = False,
) -> None:
    """Replay the test vector inside a model file: does this device compute what the exporting machine computed?"""
    from edgelm.runtimes.runtime import Runtime

    with human(as_json):
        runtime = Runtime(model, threads=threads, engine=engine, low_memory=low_memory)
        report = runtime.selftest()
    points, decidable = len(report.decidable), int(report.decidable.sum())
    if as_json:
        print_json(
            {
                "model": str(model),
                "engine": runtime.session.engine,
                "passed": report.passed,
                "worst_px": report.worst_px,
                "tolerance_px": report.tolerance_px,
                "worst_score": report.worst_score,
                "tolerance_score": report.tolerance_score,
                "points": points,
                "decidable": decidable,
            }
        )
    else:
        typer.echo(f"model: {model.name} on {runtime.session.engine_version}")
        typer.echo(f"points: {report.worst_px:.5f} crop px off at most, {report.tolerance_px:g} allowed")
        if decidable < points:
            typer.echo(f"        ({points - decidable} of {points} were near ties at export and are left out)")
        typer.echo(f"scores: {report.worst_score:.2g} off at most, {report.tolerance_score:.2g} allowed")
    if not report.passed:
        raise VerificationError(
            f"{model} does not compute here what it computed when it was exported; try EDGELM_ISA=scalar and report it"
        )
    if not as_json:
        typer.echo("passed")


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application."""
    app.command()(run)
    app.command()(selftest)
