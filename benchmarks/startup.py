"""How long it takes from nothing to the first landmarks, and where the time goes. Needs the engines, not torch.

    python benchmarks/startup.py [MODEL ...]

Each figure is of the fastest of --rounds fresh processes, files in the page cache: what disturbs only ever adds. The
limit is for the whole process, from its start to the first landmarks, without what the engine's import adds to numpy's.
What a process takes that imports the engine and nothing else, numpy with it, is told beside it: edgelm can do nothing
about either. Compiled modules are kept in a temporary folder, for an installed package has them and a working copy
may not. Run it with a Python that has edgelm's wheel: an editable install finds modules and the library through a hook
that takes time. Exits with 1 where a limit is missed.
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
import importlib, json
importlib.import_module({module!r})
print(json.dumps({{}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, default=zoo.bundled())
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        measure(args.models, args.rounds, environment)


def measure(models: list[Path], rounds: int, environment: dict[str, str]) -> None:
    """Prints the figures; SystemExit where one is over its limit."""
    ours = best(_IMPORT.format(modules="edgelm"), rounds, environment)["total"]
    theirs = best(_IMPORT.format(modules="numpy, cv2"), rounds, environment)["total"]
    fine = ours < IMPORT_LIMIT * theirs
    print(
        f"import edgelm {1e3 * ours:.1f} ms, import numpy, cv2 {1e3 * theirs:.1f} ms: {ours / theirs:.2f} times as long"
    )
    for model in models:
        times = best(_START.format(path=str(model)), rounds, environment)
        ms = {part: 1e3 * value for part, value in times.items()}
        rest = ms["process"] - ms["engine"]
        fine &= rest < START_LIMIT_MS
        print(f"{model.name}: {ms['process']:.1f} ms, without the engine's import {rest:.1f} ms, of those")
        print(f"    {rest - ms['total'] + ms['engine']:.1f} to start Python, {ms['libraries']:.1f} to import numpy,")
        alone = 1e3 * best(_ENGINE.format(module=engine_module(model)), rounds, environment)["process"]
        print(f"    {ms['edgelm']:.1f} to open the model and {ms['first']:.1f} for the first landmarks;")
        adds = ms["process"] - alone
        print(f"    a process that imports the engine alone takes {alone:.1f}, so that edgelm adds {adds:.1f}")
    if not fine:
        sys.exit(f"over the limit of {IMPORT_LIMIT} times or {START_LIMIT_MS:g} ms")


def engine_module(model: Path) -> str:
    """The module of the engine that reads a file."""
    if model.suffix == ".onnx":
        return "onnxruntime"
    package = (tflite_version() or "none").split()[0]
    return package.replace("-", "_") + ".interpreter"


def best(script: str, rounds: int, environment: dict[str, str]) -> dict[str, float]:
    """The times in s of the fastest of several processes; "process" is from its start to its last line."""
    runs = []
    for _ in range(rounds + 1):  # the first compiles
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        line = process.stdout.readline()
        wall = time.perf_counter() - begin
        process.communicate()
        if process.returncode != 0:
            sys.exit("a process failed, see above")
        runs.append({**json.loads(line), "process": wall})
    return min(runs[1:], key=lambda run: run["process"] - run.get("engine", 0.0))


if __name__ == "__main__":
    main()
