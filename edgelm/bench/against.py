"""Whole networks against rivals: our files and the float twin's other forms, in one interleaved run.

The float twin is the same architecture without quantization, with random weights: speed does not depend on them.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgelm
from edgelm.bench.device import device_info
from edgelm.bench.interleave import interleave, pin
from edgelm.bench.rivals import UnavailableError, open_rival, reference
from edgelm.errors import EngineMissingError, UsageError
from edgelm.runtimes.engines import open_session

__all__ = ["against", "float_twin"]


def float_twin(checkpoint: Path, folder: Path) -> tuple[Path, Path]:
    """The float network of a checkpoint's architecture as .onnx and .tflite in `folder`.

    Raises:
        ModelFileError: an unusable checkpoint.
    """
    from edgelm.export.pipeline import export
    from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
    from edgelm.models.create import randomize
    from edgelm.models.quantizers import QuantScheme

    source = load_checkpoint(checkpoint)
    entry = dataclasses.replace(source.entry, scheme=QuantScheme("float"))
    model = entry.family.build(entry.config, entry.scheme)
    randomize(model, source.spec.input.height, 0)
    spec = dataclasses.replace(source.spec, weights="float", activation_bits=32)
    twin = folder / "float.pt"
    save_checkpoint(twin, entry, model, spec)
    for target in ("onnx", "tflite"):
        export(twin, target, folder / f"float.{target}", verify=False)
    return folder / "float.onnx", folder / "float.tflite"


def against(
    models: Mapping[str, Path],
    rivals: Sequence[str],
    checkpoint: Path,
    *,
    threads: int = 1,
    rounds: int = 40,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time model files and rivals in turns.

    Args:
        models: our files by the name they get in the report; all of the checkpoint's input size.
        rivals: names of `edgelm.bench.rivals.RIVALS`.
        checkpoint: gives the float twin.
        threads: of every engine; 1 pins the process to a CPU.
        rounds: timed runs of each.
        progress: told what happens.

    Returns:
        {"edgelm", "device", "threads", "rounds", "pinned_cpu", "valid", "results": [{"name", "median_ms", "min_ms",
        "p90_ms", "speedup": {rival: ratio of medians}}], "correlation": {rival: of its outputs with ONNX Runtime's in
        float32}, "unavailable": {rival: why}}.

    Raises:
        UsageError: an unknown rival, or nothing to measure against.
        ModelFileError: an unusable file.
        EngineMissingError: no onnxruntime, whose float32 outputs the rivals are compared with.
    """
    with tempfile.TemporaryDirectory() as folder:
        progress("the float twin")
        onnx, tflite = float_twin(checkpoint, Path(folder))
        cpu = pin(threads)
        entries: dict[str, Callable[[], object]] = {}
        correlation: dict[str, float] = {}
        unavailable: dict[str, str] = {}
        sizes = set()
        for label, path in models.items():
            session = open_session(path, threads=threads)
            H, W = session.spec.input.height, session.spec.input.width
            sizes.add((H, W))
            crops = np.random.default_rng(1).random((1, H, W, 3), dtype=np.float32)
            entries[label] = session.prepared(crops)
        if len(sizes) != 1:
            raise UsageError(f"models to compare have one input size, got {sorted(sizes)}")
        (H, W) = sizes.pop()
        x = np.random.default_rng(1).random((1, 3, H, W), dtype=np.float32)
        try:
            expected = reference(onnx, x)
        except UnavailableError as missing:
            raise EngineMissingError(f"rivals are compared with ONNX Runtime's outputs; {missing}") from missing
        for name in rivals:
            progress(name)
            try:
                rival = open_rival(name, onnx, tflite, x, threads, expected)
            except UnavailableError as missing:
                unavailable[name] = str(missing)
                continue
            entries[name], correlation[name] = rival.run, rival.correlation
        timings = interleave(entries, rounds=rounds, progress=progress)
    measured = [rival for rival in rivals if rival in timings]
    results = [
        {
            "name": name,
            "median_ms": timing.median_ms,
            "min_ms": timing.min_ms,
            "p90_ms": timing.p90_ms,
            "speedup": {rival: timings[rival].median_ms / timing.median_ms for rival in measured},
        }
        for name, timing in timings.items()
    ]
    return {
        "edgelm": edgelm.__version__,
        "device": device_info(),
        "threads": threads,
        "rounds": rounds,
        "pinned_cpu": cpu,
        "valid": all(timing.valid for timing in timings.values()),
        "results": results,
        "correlation": correlation,
        "unavailable": unavailable,
    }
