"""The models and the photo that travel inside the package, so that demo, bench and tests need no download.

Every wheel has the small model's two files and the photo. The checkpoints, and a larger model that is more accurate,
are in the source tree alone: wheels stay below a megabyte.
"""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

__all__ = ["bundled", "checkpoints", "large", "photo"]

_LARGE = "large"


def bundled() -> list[Path]:
    """The files (.onnx and .tflite) of the small model, sorted by name."""
    return _with_suffix((".onnx", ".tflite"))


def large() -> list[Path]:
    """The files (.onnx and .tflite) of the larger models, sorted by name; none in an installed package."""
    return _with_suffix((".onnx", ".tflite"), _LARGE)


def checkpoints() -> list[Path]:
    """The packed checkpoints (.pt) of all these, the larger first; none in an installed package."""
    return _with_suffix((".pt",), _LARGE) + _with_suffix((".pt",))


def photo() -> Path | None:
    """The bundled portrait, or None in a package built without it."""
    return next(iter(_with_suffix((".jpg", ".png"))), None)


def _with_suffix(suffixes: Iterable[str], folder: str = "") -> list[Path]:
    # A Path, not a Traversable: the engines open files by name, and edgelm is never imported from a zip.
    room = Path(str(files(__name__))) / folder
    found = room.iterdir() if room.is_dir() else ()
    return sorted(path for path in found if path.suffix in suffixes)
