"""What lies in the package, for tests that need a model: the files, those that an installed engine reads, a photo."""

import shutil
from pathlib import Path

import pytest

from edgelm import zoo
from edgelm.runtimes.engines import engines
from edgelm.runtimes.tflite import tflite_version

_INSTALLED = {engine.suffix for engine in engines() if engine.version() is not None}
BUNDLED = [pytest.param(path, id=path.name) for path in zoo.bundled()]
READABLE = [path for path in zoo.bundled() if path.suffix in _INSTALLED]
PHOTO = zoo.photo()


def lay_out(folder: Path) -> None:
    """Put face.tflite and photo.jpg in a folder, as the documents have them; skip the test where there is none."""
    models = [path for path in zoo.bundled() if path.suffix == ".tflite"]
    if not models or PHOTO is None or tflite_version() is None:
        pytest.skip("no TFLite engine, or no bundled .tflite model and photo")
    shutil.copy(models[0], folder / "face.tflite")
    shutil.copy(PHOTO, folder / "photo.jpg")
