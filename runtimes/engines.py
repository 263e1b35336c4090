"""The registry of inference engines: which one reads which file, and what of it is installed.

What an engine's module brings is imported when it is asked for: a start pays for one engine only.
"""

import os
from collections.abc import Callable
from importlib import import_module
from os import PathLike
from typing import Any

from edgelm.errors import UsageError
from edgelm.record import record
from edgelm.runtimes import native
from edgelm.runtimes.base import Session

__all__ = ["Engine", "engines", "open_session", "register_engine"]


@record(frozen=True)
class Engine:
    """An inference engine.

    Attributes:
        name: for example "onnx"; edgelm's extra of the same name installs it.
        suffix: of the files it reads.
        open: (path, threads) -> a session.
        version: package and version, or None where it is not installed.
        load: imports the engine's code for a file; EngineMissingError where that cannot be.
        problem: a sentence where the installed package does not work here, else None.
    """

    name: str
    suffix: str
    open: Callable[[str, int], Session]
    version: Callable[[], str | None]
    load: Callable[[str], object]
    problem: Callable[[], str | None]


_ENGINES: dict[str, Engine] = {}


def register_engine(engine: Engine) -> None:
    """Add an engine; UsageError where one of its name exists."""
    if engine.name in _ENGINES:
        raise UsageError(f"an engine {engine.name!r} is registered already")
    _ENGINES[engine.name] = engine


def engines() -> tuple[Engine, ...]:
    """All engines that edgelm knows, installed or not."""
    return tuple(_ENGINES.values())


def open_session(
    path: str | PathLike[str], threads: int = 1, engine: str | None = None, *, low_memory: bool = False
) -> Session:
    """Open a model file.

    Args:
        path: the suffix picks the engine.
        threads: 1 to 64.
        engine: a name from `engines`, which must read files of this suffix.
        low_memory: keep low-bit weights under two bits each, even where kernels are slower with that.

    Raises:
        UsageError: unknown engine, a suffix that no engine reads, threads below 1.
        ModelFileError: the file is missing, damaged, or not one that `edgelm export` wrote.
        EngineMissingError: the engine is not installed.
    """
    path = os.fspath(path)
    if engine is not None and engine not in _ENGINES:
        raise UsageError(f"there is no engine {engine!r}, known are {list(_ENGINES)}")
    for known in _ENGINES.values() if engine is None else [_ENGINES[engine]]:
        if os.path.splitext(path)[1].lower() == known.suffix:
            with native.low_memory(low_memory):
                return known.open(path, threads)
    wanted = [e.suffix for e in _ENGINES.values() if engine in (None, e.name)]
    raise UsageError(
        f"a model file ends in {' or '.join(wanted)}, got {os.path.basename(path) or path!r}; "
        "make one with `edgelm export`"
    )


def _late(module: str, name: str) -> Callable[..., Any]:
    """The callable `name` of an engine's module, imported at the first call."""
    return lambda *arguments: getattr(import_module(f"edgelm.runtimes.{module}"), name)(*arguments)


for _name, _session, _load in (
    ("onnx", "OnnxSession", "import_onnxruntime"),
    ("tflite", "TfliteSession", "import_engine"),
):
    _parts = (_late(_name, part) for part in (_session, f"{_name}_version", _load, f"{_name}_problem"))
    register_engine(Engine(_name, f".{_name}", *_parts))
