"""A runtime in its process: as many threads as asked for, no lock held while it computes, forks, memory, imports.

What counts threads or forks does it in a process of its own, for pytest's has threads already.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundled import READABLE
from pace import EMULATED
from session_models import tflite_file

from edgelm.runtimes.tflite import tflite_version

MODELS = [pytest.param(str(path), id=path.suffix) for path in READABLE]
LIMIT = 60.0
"""Seconds that a process may take."""

pytestmark = [
    pytest.mark.skipif(EMULATED, reason="emulation adds threads of its own"),
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc"),
]

START = """
import json, os, sys, time
import numpy as np, cv2
import edgelm
image = np.random.RandomState(0).randint(0, 256, (240, 320, 3)).astype(np.uint8)
boxes = [[60.0, 40, 220, 200], [10, 10, 300, 230]]
"""


def run_script(body: str, *arguments: object) -> Any:
    """What a process prints as its last line, as JSON."""
    words = [sys.executable, "-c", START + body, *map(str, arguments)]
    # What the tests set for themselves to have one thread would hide too many.
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, env=free)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("path", MODELS)
def test_threads_are_as_many_as_asked_for(path: str, threads: int) -> None:
    body = """
from edgelm.runtimes.engines import engines
from pathlib import Path
def count():
    return len(os.listdir("/proc/self/task"))
path = Path(sys.argv[1])
next(engine for engine in engines() if engine.suffix == path.suffix).load(path)  # ONNX Runtime's import starts a thread
before = count()
with edgelm.Runtime(sys.argv[1], threads=int(sys.argv[2])) as runtime:
    runtime(image, boxes)
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(4):
        runtime(image, boxes)
    share = (time.process_time() - cpu) / (time.perf_counter() - begin)
    during = count()
print(json.dumps([during - before, share]))
"""
    more, share = run_script(body, path, threads)
    # OpenCV and the engine have a pool each, and never work at the same time.
    assert more == 0 if threads == 1 else 1 <= more <= 2 * (threads - 1)
    assert share <= threads * 1.1, "more CPUs were busy than threads were asked for"


@pytest.mark.parametrize("path", MODELS)
def test_python_goes_on_while_the_network_runs(path: str) -> None:
    """With the interpreter's lock held for the whole call, this loop would stand still."""
    from edgelm.runtimes.runtime import Runtime

    with Runtime(path) as runtime:
        size = runtime.spec.input
        x = np.zeros((8, size.height, size.width, 3), np.float32)
        runtime.infer(x)
        span: list[float] = []

        def call() -> None:
            span.append(time.perf_counter())
            runtime.infer(x)
            span.append(time.perf_counter())

        worker = threading.Thread(target=call)
        worker.start()
        ticks = []
        while worker.is_alive():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)
    middle = [tick for tick in ticks if span[0] + 0.002 < tick < span[1] - 0.002]
    assert len(middle) >= 5


@pytest.mark.parametrize("path", MODELS)
def test_calls_from_several_threads_give_the_same(path: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from edgelm.runtimes.runtime import Runtime

    image = np.random.RandomState(0).randint(0, 256, (120, 160, 3)).astype(np.uint8)
    boxes = np.array([[20.0, 20, 90, 90]]) + np.arange(6)[:, None]
    with Runtime(path) as runtime:
        wanted = [runtime(image, box).xy for box in boxes]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda box: runtime(image, box).xy, boxes))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("path", MODELS)
def test_one_thread_works_on_in_the_child_of_a_fork(path: str) -> None:
    body = """
with edgelm.Runtime(sys.argv[1]) as runtime:
    xy = runtime(image, boxes).xy
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(runtime(image, boxes).xy, xy) else 1)
    status = os.waitpid(child, 0)[1]
    print(json.dumps([status, np.array_equal(runtime(image, boxes).xy, xy)]))
"""
    assert run_script(body, path) == [0, True]


@pytest.mark.parametrize("path", MODELS)
def test_more_threads_say_so_and_a_new_runtime_works(path: str) -> None:
    body = """
runtime = edgelm.Runtime(sys.argv[1], threads=2)
xy = runtime(image, boxes).xy
child = os.fork()
if child == 0:
    try:
        runtime(image, boxes)
    except edgelm.errors.UsageError as error:
        said = "open it in the process that uses it" in str(error)
        with edgelm.Runtime(sys.argv[1], threads=2) as own:
            os._exit(0 if said and np.array_equal(own(image, boxes).xy, xy) else 2)
    os._exit(1)
status = os.waitpid(child, 0)[1]
print(json.dumps([status, np.array_equal(runtime(image, boxes).xy, xy)]))
"""
    assert run_script("import edgelm.errors\n" + body, path) == [0, True]


@pytest.mark.skipif(tflite_version() is None, reason="no TFLite engine is installed")
@pytest.mark.parametrize("portable", [False, True])
def test_memory_does_not_grow(tmp_path: Path, portable: bool) -> None:
    """500 calls of a tiny network, one box and two in turns; benchmarks/memory.py is the long version."""
    (tmp_path / "tiny.tflite").write_bytes(tflite_file(portable=portable))
    body = """
def kilobytes():
    return 4 * int(open("/proc/self/statm").read().split()[1])
with edgelm.Runtime(sys.argv[1]) as runtime:
    for i in range(100):
        runtime(image, boxes[:1 + i % 2])
    first = kilobytes()
    for i in range(500):
        runtime(image, boxes[:1 + i % 2])
print(json.dumps(kilobytes() - first))
"""
    assert run_script(body, tmp_path / "tiny.tflite") < 200, "KB: a kilobyte lost in each call would be 500"


def test_imports_are_late() -> None:
    body = """
import subprocess
code = "import sys, edgelm; print([m for m in ('numpy', 'cv2', 'torch', 'onnx', 'typer') if m in sys.modules])"
print(json.dumps(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()))
"""
    assert run_script(body) == "[]"


@pytest.mark.parametrize("path", MODELS)
def test_a_runtime_loads_its_own_engine_alone(path: str) -> None:
    body = """
edgelm.Runtime(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""
    loaded = set(run_script(body, path))
    other = {".onnx": "tflite", ".tflite": "onnx"}[Path(path).suffix]
    assert f"edgelm.runtimes.{other}" not in loaded
    assert not loaded & {"torch", "onnx", "typer", "importlib.metadata", "edgelm.runtimes.native.graph"}
