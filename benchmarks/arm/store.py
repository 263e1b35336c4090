"""Counts that are kept: a file is not counted again on a core while file, engine and library are the same.

Before a count is kept, the emulated output is compared with what ONNX Runtime or our library computes here.
"""

import gzip
import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from counting import WARM, Counted, count, digest
from crossbuild import run
from files import File
from numpy.typing import NDArray
from room import HERE, Room, RoomError

Floats = NDArray[np.float32]
_PACKAGES = "onnxruntime", "ai-edge-litert", "numpy"
_SOURCES = ("count.c", "guest.py")


@cache
def engine_versions(room: Room, cpu: str) -> dict[str, str]:
    """Versions of the packages in the emulated machine."""
    code = f"from importlib.metadata import version; print(*map(version, {_PACKAGES}))"
    return dict(zip(_PACKAGES, run([str(room.python(cpu)), "-c", code], room.path).split(), strict=True))


def counted(
    room: Room, cpu: str, file: File, library: Path, reference: Callable[[], Floats] | None, windows: int = 3
) -> Counted:
    """Count a file, or take what was counted before.

    Args:
        room: where.
        cpu: core.
        file: a model, or an .npz of a single layer.
        library: of ours.
        reference: the output that the file should have; None for a layer, which tests compare.
        windows: see `count`.

    Raises:
        RoomError: it cannot be counted, or computes something else in emulation.
    """
    versions = engine_versions(room, cpu)
    key = [cpu, digest(file.path), str(file.plain), str(versions), str(windows)]
    key += [digest(HERE / name) for name in _SOURCES] + ([] if file.plain else [digest(library)])
    kept = room.cache / "counts" / f"{hashlib.sha256(' '.join(key).encode()).hexdigest()[:24]}.gz"
    if kept.exists():
        found = pickle.loads(gzip.decompress(kept.read_bytes()))
        assert isinstance(found, Counted)
        return found
    warm = 1 if file.plain or file.path.suffix != ".onnx" else WARM
    found = count(room, cpu, file.path, library=library, plain=file.plain, warm=warm, windows=windows)
    if reference is not None:
        _check(file, cpu, found.output, reference())
    kept.parent.mkdir(exist_ok=True)
    part = kept.with_suffix(".part")
    part.write_bytes(gzip.compress(pickle.dumps(found), 1))
    part.replace(kept)
    return found


def _check(file: File, cpu: str, got: Floats | None, expected: Floats) -> None:
    from edgelm.bench.rivals import UnavailableError, compare

    if got is None:
        raise RoomError(f"{file.label} gave no output on the emulated {cpu}")
    try:
        compare(got, expected, exact=file.exact)
    except UnavailableError as why:
        raise RoomError(f"{file.label} on the emulated {cpu} is not to be counted: {why}") from why
