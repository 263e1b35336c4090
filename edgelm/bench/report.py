"""Plan a benchmark, run one worker process per model and engine, collect one JSON-ready report.

The report: {"edgelm", "device": {...}, "results": [{"model", "engine", "threads", "stages": {"crop", "network",
"decode", "total": {"p50", "p90", "p99", "min"} in ms}, "memory": {...}, "after": {...}, ...}]}. Fields are only ever
added. `device` is what `edgelm.bench.device.device_info` found before the first result, `after` of a result the clock,
temperature and throttling behind its last run. Models are named by their files' names: no path of the machine is in it.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import edgelm
from edgelm import errors, zoo
from edgelm.bench.device import device_info
from edgelm.errors import EdgelmError, EngineMissingError, ModelFileError, UsageError

__all__ = ["bench", "plan"]


def bench(
    models: Sequence[str | Path] = (),
    *,
    device: str = "cpu",
    threads: int = 1,
    runs: int | None = None,
    low_memory: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time `models`, each on every installed engine that reads it, each in a fresh process.

    Args:
        models: files to measure; none for the bundled ones.
        device: only "cpu" exists.
        threads: of the engine.
        runs: timed runs; None for 100 runs or 5 s, whichever comes first.
        low_memory: as `edgelm.Runtime` takes it.
        progress: told one line before each measurement.

    Returns:
        The report, see this module's text.

    Raises:
        UsageError: an impossible option.
        EngineMissingError: no engine is installed for one of the given models, or none for the bundled ones.
        ModelFileError: a model cannot be read.
    """
    if device != "cpu":
        raise UsageError(f"edgelm computes on the CPU; the device is cpu, got {device!r}")
    if runs is not None and runs < 1:
        raise UsageError(f"runs are at least 1, got {runs}")
    from edgelm.runtimes.base import check_threads

    check_threads(threads)
    jobs = plan(models)
    photo, box = _subject()
    report: dict[str, Any] = {"edgelm": edgelm.__version__, "device": device_info(), "results": []}
    for index, (path, engine) in enumerate(jobs, 1):
        progress(f"[{index}/{len(jobs)}] {path.name} on {engine}, {threads} thread{'s' * (threads > 1)}")
        order = {"model": str(path), "engine": engine, "threads": threads, "runs": runs, "photo": photo, "box": box}
        order["low_memory"] = low_memory
        result = _measured(order)
        report["results"].append({"model": path.name, "engine": engine, "threads": threads, **result})
    return report


def plan(models: Sequence[str | Path]) -> list[tuple[Path, str]]:
    """Pairs of model file and engine to measure; see `bench` for the errors."""
    from edgelm.runtimes.engines import engines

    paths = [Path(model) for model in models] or zoo.bundled()
    if not paths:
        raise ModelFileError("this edgelm carries no models; name one: edgelm bench MODEL")
    jobs: list[tuple[Path, str]] = []
    for path in paths:
        readers = [engine for engine in engines() if engine.suffix == path.suffix.lower()]
        if not readers:
            suffixes = " or ".join(engine.suffix for engine in engines())
            raise UsageError(
                f"a model file ends in {suffixes}, got {path.name or str(path)!r}; make one with `edgelm export`"
            )
        if not path.is_file():
            raise ModelFileError(f"{path} is {'not a file' if path.exists() else 'not there'}; expected a model file")
        # Of the bundled ones nobody asked for this engine: one that does not work here is left out.
        able = [(path, e.name) for e in readers if e.version() is not None and (models or e.problem() is None)]
        if models and not able:
            names = " or ".join(f'pip install "edgelm[{engine.name}]"' for engine in readers)
            raise EngineMissingError(f"{path} needs an engine that is not installed; run {names}")
        jobs += able
    if not jobs:
        problems = [problem for engine in engines() if (problem := engine.problem()) is not None]
        none = 'no engine is installed; run pip install "edgelm[onnx]" or pip install "edgelm[tflite]"'
        raise EngineMissingError("; ".join(problems) or none)
    return jobs


def _subject() -> tuple[str | None, list[float]]:
    """What the models look at: the bundled photo and the face found in it, or noise."""
    noise = None, [220.0, 140.0, 420.0, 340.0]
    if (photo := zoo.photo()) is None:
        return noise
    from edgelm.images import read_image
    from edgelm.runtimes.detect import find_faces

    boxes, _ = find_faces(read_image(photo))
    return (str(photo), boxes[0].tolist()) if len(boxes) else noise


def _measured(order: dict[str, Any]) -> dict[str, Any]:
    """Run one worker and read its answer."""
    # -W: the worker's warnings would land between the lines of the caller's progress.
    command = [sys.executable, "-W", "ignore", "-m", "edgelm.bench.worker"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
    what = f"measuring {Path(order['model']).name} on {order['engine']}"
    if done.returncode < 0:
        raise EdgelmError(f"{what} was ended by {signal.Signals(-done.returncode).name}; is there enough memory?")
    if done.returncode or not done.stdout:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EdgelmError(f"{what} failed: {last}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise getattr(errors, answer["kind"])(answer["error"])
    return answer
