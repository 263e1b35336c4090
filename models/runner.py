"""Any model file as one function from crops to heatmaps: a checkpoint by torch, an exported file by its engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelm.models.localize import Run
from edgelm.spec import ModelSpec

__all__ = ["CHECKPOINT_SUFFIXES", "open_runner"]

CHECKPOINT_SUFFIXES = (".pt", ".pth")


@contextmanager
def open_runner(path: Path, *, threads: int = 1, engine: str | None = None) -> Iterator[tuple[Run, ModelSpec]]:
    """A model file's network and description, for the time of the block.

    Args:
        path: a checkpoint, or an exported .onnx or .tflite.
        threads: of the engine, or of torch.
        engine: of an exported file, by name, where several can run it.

    Raises:
        ModelFileError: missing, damaged, or of another tool.
    """
    if path.suffix.lower() not in CHECKPOINT_SUFFIXES:
        from edgelm.runtimes.runtime import Runtime

        with Runtime(path, threads=threads, engine=engine) as runtime:
            yield runtime.infer, runtime.spec
        return
    import torch

    from edgelm.models.checkpoint import load_checkpoint
    from edgelm.models.evaluate import network_runner

    loaded = load_checkpoint(path)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield network_runner(loaded.model), loaded.spec
    finally:
        torch.set_num_threads(before)
