"""The fresh process that measures one model on one engine: `python -m edgelm.bench.worker` with a JSON order on stdin.

A process of its own makes load times and memory those of this model alone. The answer is one JSON object on stdout:
the measurement, or {"error": sentence, "kind": class}.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from edgelm.bench.device import calmest_cpu, setting
from edgelm.bench.memory import peak_rss, reset_peak, rss
from edgelm.bench.stages import STAGES, is_noisy, summarize
from edgelm.errors import EdgelmError

__all__ = ["main", "measure"]

_WARM_UP_RUNS, _WARM_UP_S = 10, 1.0
_LEAST_RUNS, _MOST_S = 5, 5.0


def measure(
    model: str,
    engine: str,
    threads: int,
    runs: int | None,
    photo: str | None,
    box: list[float],
    low_memory: bool = False,
) -> dict[str, Any]:
    """Load `model` and time its stages on one face.

    Args:
        model: file to load.
        engine: name of the engine to load it with.
        threads: of the engine; with 1 this process is pinned to one CPU.
        runs: timed runs, or None for 100 runs or 5 s, whichever comes first (at least 5 runs).
        photo: image file, or None for noise.
        box: face in it, xyxy px.
        low_memory: as `edgelm.Runtime` takes it.
    """
    pinned = calmest_cpu() if threads == 1 else None
    if pinned is not None:
        os.sched_setaffinity(0, {pinned})

    # The engine's own code is loaded before the baseline: what grows after it belongs to the model.
    import cv2
    import numpy as np

    from edgelm.runtimes.engines import engines
    from edgelm.runtimes.runtime import Runtime

    for known in engines():
        if known.name == engine:
            known.load(str(model))
    cv2.setNumThreads(threads)
    image, boxes = _image(photo), np.array([box])
    gc.collect()
    can_reset, baseline = reset_peak(), rss()

    start = time.perf_counter_ns()
    runtime = Runtime(model, threads=threads, engine=engine, low_memory=low_memory)
    loaded = time.perf_counter_ns()
    first = _run(runtime, image, boxes)["total"]

    warm_up = 0
    until = time.perf_counter() + _WARM_UP_S
    while warm_up < _WARM_UP_RUNS and time.perf_counter() < until:
        _run(runtime, image, boxes)
        warm_up += 1

    times: dict[str, list[int]] = {stage: [] for stage in STAGES}
    until = time.perf_counter() + _MOST_S
    while _more(len(times["total"]), runs, until):
        for stage, ns in _run(runtime, image, boxes).items():
            times[stage].append(ns)

    after = setting(pinned or 0)
    peak = peak_rss()
    stages = summarize(times)
    return {
        "engine_version": runtime.session.engine_version,
        "input": [runtime.spec.input.height, runtime.spec.input.width],
        "landmarks": len(runtime.spec.scheme.names),
        "load_ms": round((loaded - start) / 1e6, 3),
        "first_ms": round(first / 1e6, 3),
        "warm_up_runs": warm_up,
        "runs": len(times["total"]),
        "stages": stages,
        "noisy": is_noisy(stages),
        "pinned_cpu": pinned,
        "governor": after["governor"],
        "after": after,
        "memory": {
            "file_bytes": os.path.getsize(model),
            "weights_bytes": runtime.session.weights_bytes,
            **_native_memory(),
            "baseline_rss_bytes": baseline,
            "peak_rss_bytes": peak,
            "peak_rss_growth_bytes": peak - baseline if can_reset and peak and baseline else None,
        },
    }


def _native_memory() -> dict[str, Any]:
    """What the native library took in this process: nulls where no file needed it."""
    from edgelm.runtimes import native

    info = native.memory() if os.path.isfile(native.library_path()) else None
    if info is None or info.weight_count == 0:
        return dict.fromkeys(("resident_weights_bytes", "resident_bits_per_weight", "scratch_bytes"))
    return {
        "resident_weights_bytes": info.resident_bytes,
        "resident_bits_per_weight": round(8 * info.resident_bytes / info.weight_count, 3),
        "scratch_bytes": info.scratch_bytes,
    }


def _more(done: int, runs: int | None, until: float) -> bool:
    if runs is not None:
        return done < runs
    return done < _LEAST_RUNS or (done < 100 and time.perf_counter() < until)


def _run(runtime: Any, image: Any, boxes: Any) -> dict[str, int]:
    """One pass over the public steps of the runtime; ns per stage."""
    start = time.perf_counter_ns()
    x, matrices = runtime.crop(image, boxes)
    cropped = time.perf_counter_ns()
    heatmaps = runtime.infer(x)
    inferred = time.perf_counter_ns()
    runtime.decode(heatmaps, matrices)
    decoded = time.perf_counter_ns()
    return {
        "crop": cropped - start,
        "network": inferred - cropped,
        "decode": decoded - inferred,
        "total": decoded - start,
    }


def _image(photo: str | None) -> Any:
    """The photo, or noise of a camera's usual size: (H, W, 3) uint8 BGR."""
    if photo is None:
        import numpy as np

        return np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    from edgelm.images import read_image

    return read_image(photo)


def main() -> None:
    """Read the order from stdin, answer on stdout."""
    order: Mapping[str, Any] = json.load(sys.stdin)
    # Engines and their libraries may print on descriptor 1; the answer keeps it to itself.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = measure(**order)
    except EdgelmError as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    with answers:
        json.dump(answer, answers)


if __name__ == "__main__":
    main()
