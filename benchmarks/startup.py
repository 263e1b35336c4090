"""How long it takes from nothing to the first landmarks, and where the time goes. Needs the engines, not torch.

    python benchmarks/startup.py [MODEL ...]

Each figure is of the fastest of --rounds fresh processes, files in the page cache: what disturbs only ever adds. The
limit is for the whole process, from its start to the first landmarks, less what the engine's own import takes in a
fresh Python, in turns with it. The engine's import brings numpy; what is left when numpy is counted as edgelm's is told
beside it. Compiled modules are kept in a temporary folder, for an installed package has them and a working copy may
not; processes start in that folder, for Python finds modules where it is started first. Run it with a Python that has
edgelm's wheel: an editable install finds modules and the library through a hook that takes time. Exits with 1 where a
limit is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgelm import zoo
from edgelm.runtimes.tflite import tflite_version

IMPORT_LIMIT = 1.3
"""`import edgelm` may take this many times what `import numpy, cv2` takes."""
START_LIMIT_MS = 150.0

_IMPORT = """
import json, time
begin = time.perf_counter()
import {modules}
print(json.dumps({{"total": time.perf_counter() - begin}}))
"""

_START = """
import json, sys, time
begin = time.perf_counter()
import numpy as np
libraries = time.perf_counter()
from edgelm.runtimes import engines
path = {path!r}
before = time.perf_counter()
next(e for e in engines.engines() if path.endswith(e.suffix)).load(path)
engine = time.perf_counter() - before
import edgelm
runtime = edgelm.Runtime(path)
opened = time.perf_counter()
runtime(np.zeros((240, 320, 3), np.uint8), [[80, 60, 240, 220]])
end = time.perf_counter()
print(json.dumps({{"libraries": libraries - begin, "engine": engine, "edgelm": opened - libraries - engine,
                   "first": end - opened, "total": end - begin}}))
"""


_ENGINE = """
import importlib, json, time
begin = time.perf_counter()
importlib.import_module({module!r})
print(json.dumps({{"total": time.perf_counter() - begin}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=zoo.bundled())
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure([model.resolve() for model in args.models], args.rounds, Path(folder))


def measure(models: list[Path], rounds: int, folder: Path) -> None:
    """Prints the figures; SystemExit where one is over its limit."""
    ours, theirs = fastest([_IMPORT.format(modules=modules) for modules in ("edgelm", "numpy, cv2")], rounds, folder)
    ratio = ours["total"] / theirs["total"]
    fine = ratio < IMPORT_LIMIT
    print(
        f"import edgelm {1e3 * ours['total']:.1f} ms, import numpy, cv2 {1e3 * theirs['total']:.1f} ms: "
        f"{ratio:.2f} times as long"
    )
    for model in models:
        scripts = [_START.format(path=str(model)), _ENGINE.format(module=engine_module(model))]
        start, engine = fastest(scripts, rounds, folder)
        ms = {part: 1e3 * value for part, value in start.items()}
        alone = 1e3 * engine["total"]
        left = ms["process"] - alone
        fine &= left < START_LIMIT_MS
        print(f"{model.name}: {ms['process']:.1f} ms, less the engine's import of {alone:.1f}: {left:.1f} ms.")
        print(f"    {ms['process'] - ms['total']:.1f} to start Python, {ms['libraries']:.1f} to import numpy,")
        print(f"    {ms['engine']:.1f} for the engine after numpy, {ms['edgelm']:.1f} to open the model,")
        print(f"    {ms['first']:.1f} for the first landmarks; {ms['process'] - ms['engine']:.1f} with numpy and all,")
        print("    but without the engine after numpy")
    if not fine:
        sys.exit(f"over the limit of {IMPORT_LIMIT} times or {START_LIMIT_MS:g} ms")


def engine_module(model: Path) -> str:
    """The module of the engine that reads a file."""
    if model.suffix == ".onnx":
        return "onnxruntime"
    package = (tflite_version() or "none").split()[0]
    return package.replace("-", "_") + ".interpreter"


def fastest(scripts: list[str], rounds: int, folder: Path) -> list[dict[str, float]]:
    """The times in s of the fastest process of each script, in turns; "process" is from its start to its last line."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    best: list[dict[str, float]] = [{"process": float("inf")} for _ in scripts]
    for turn in range(rounds + 1):
        for i, script in enumerate(scripts):
            times = run(script, environment, folder)
            if turn > 0 and times["process"] < best[i]["process"]:  # the first turn compiles
                best[i] = times
    return best


def run(script: str, environment: dict[str, str], folder: Path) -> dict[str, float]:
    """The times in s that one process prints, and "process"."""
    command = [sys.executable, "-c", script]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        wall = time.perf_counter() - begin
    if process.returncode != 0:
        sys.exit("a process failed, see above")
    return {**json.loads(line), "process": wall}


if __name__ == "__main__":
    main()
