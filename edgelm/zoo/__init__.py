"""The models and the photo that travel inside the package, so that demo, bench and tests need no download."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

__all__ = ["bundled", "checkpoints", "photo"]


def bundled() -> list[Path]:
    """The bundled model files (.onnx and .tflite), sorted by name."""
    return _with_suffix((".onnx", ".tflite"))


def checkpoints() -> list[Path]:
    """The bundled packed checkpoints (.pt), sorted by name."""
    return _with_suffix((".pt",))


def photo() -> Path | None:
    """The bundled portrait, or None in a package built without it."""
    return next(iter(_with_suffix((".jpg", ".png"))), None)


def _with_suffix(suffixes: Iterable[str]) -> list[Path]:
    # A Path, not a Traversable: the engines open files by name, and edgelm is never imported from a zip.
    found = (Path(str(entry)) for entry in files(__name__).iterdir())
    return sorted(path for path in found if path.suffix in suffixes)
