"""Who computes a convolution with real weights faster, the engine or edgelm: measured on this machine, on whole files.

A layer that is left to the engine cuts the network's one operator in two, and floats go through its tensors between
them; so that what counts is the time of the whole file, not of the layer.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from edgelm.bench.interleave import interleave
from edgelm.runtimes.engines import open_session

__all__ = ["choose_engine_layers"]

_SINGLE = 6
"""So many layers are tried one by one; more of them only all together."""
_GAIN = 0.98
"""A layer goes to the engine where the file then takes at most this share of the time; noise decides nothing."""


def choose_engine_layers(
    layers: Sequence[str],
    make: Callable[[tuple[str, ...]], bytes],
    target: str,
    *,
    rounds: int = 15,
    time: Callable[[Mapping[tuple[str, ...], Path], int], Mapping[tuple[str, ...], float]] | None = None,
) -> tuple[str, ...]:
    """Names of the layers that are better left to the engine.

    Args:
        layers: convolutions with real weights that edgelm could compute.
        make: gives the file that leaves the named layers to the engine.
        target: "onnx" or "tflite".
        rounds: timed runs of each file.
        time: how to time files; None runs them in turns on one thread and gives medians in ms.

    Raises:
        EngineMissingError: the target's engine is not installed.
    """
    trials: list[tuple[str, ...]] = [()]
    trials += [(layer,) for layer in layers] if len(layers) <= _SINGLE else [tuple(layers)]
    with tempfile.TemporaryDirectory() as folder:

        def write(trial: tuple[str, ...]) -> Path:
            path = Path(folder) / f"{len(list(Path(folder).iterdir()))}.{target}"
            path.write_bytes(make(trial))
            return path

        timed = (time or _time)({trial: write(trial) for trial in trials}, rounds)
        faster = [trial for trial in trials[1:] if timed[trial] <= _GAIN * timed[()]]
        if len(faster) < 2:
            return faster[0] if faster else ()
        together = tuple(name for trial in faster for name in trial)
        best = min(faster, key=lambda trial: timed[trial])
        again = (time or _time)({trial: write(trial) for trial in (best, together)}, rounds)
        return min((best, together), key=lambda trial: again[trial])


def _time(files: Mapping[tuple[str, ...], Path], rounds: int) -> Mapping[tuple[str, ...], float]:
    runs = {}
    for trial, path in files.items():
        session = open_session(path, threads=1)
        size = session.spec.input
        crop = np.random.default_rng(1).random((1, size.height, size.width, 3), dtype=np.float32)
        runs["\n".join(trial)] = partial(session.run, crop)
    timings = interleave(runs, rounds=rounds, attempts=1)
    return {trial: timings["\n".join(trial)].median_ms for trial in files}
