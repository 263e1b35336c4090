"""What runs inside the emulated machine: a network or a layer, with a counting window around each inference.

    python guest.py FILE --marker mark.so --maps MAPS [--plain] [--warm 2] [--windows 2]

FILE is a model file, run by `edgelm.runtimes.open_session` or with --plain by its engine alone, or an .npz that holds a
program of the native library (`program`, `data`, the NHWC `shape` of its input, and a `step`). Of an .npz the windows
are pairs: a run with the step done once more than needed, and one with it done three times more; their difference is
the step, twice. One thread. Prints JSON about the engine; the counts are the plugin's.
"""

import argparse
import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], object]


def ours(path: Path) -> tuple[Run, dict[str, Any]]:
    from edgelm.runtimes.engines import open_session

    session = open_session(path, threads=1)
    shape = (1, session.spec.input.height, session.spec.input.width, 3)
    return session.prepared(_random(shape)), {"engine": session.engine_version}


def plain(path: Path) -> tuple[Run, dict[str, Any]]:
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        feeds = {source.name: _random(tuple(source.shape))}
        return lambda: session.run(None, feeds), {"engine": f"onnxruntime {onnxruntime.__version__}"}
    from importlib.metadata import version

    from ai_edge_litert import interpreter

    network = interpreter.Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    tensor = network.get_input_details()[0]
    image = _random(tuple(tensor["shape"]))
    if tensor["dtype"] == np.int8:
        scale, zero = tensor["quantization"]
        image = np.clip(np.rint(image / scale) + zero, -128, 127).astype(np.int8)
    network.set_tensor(tensor["index"], image)
    return network.invoke, {"engine": f"ai-edge-litert {version('ai-edge-litert')}"}


def step(path: Path) -> tuple[Run, Run, dict[str, Any]]:
    from edgelm.runtimes.native import QuantGraph

    with np.load(path) as file:
        graph = QuantGraph(file["program"], file["data"])
        x, index = _random(tuple(file["shape"])), int(file["step"])
    info = graph.steps()[index]
    about = {"kind": info.kind, "isa": info.isa, "op": info.op, "engine": "the native library"}
    return lambda: graph.repeat([x], index, 1, "NHWC"), lambda: graph.repeat([x], index, 3, "NHWC"), about


def _random(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--marker", type=Path, required=True, help="mark.c as a shared library of this machine")
    parser.add_argument("--maps", type=Path, required=True, help="where to write this process's memory map")
    parser.add_argument("--plain", action="store_true", help="by the file's engine, without edgelm")
    parser.add_argument("--warm", type=int, default=2, help="runs before the first window")
    parser.add_argument("--windows", type=int, default=2)
    args = parser.parse_args()
    if args.file.suffix == ".npz":
        *runs, about = step(args.file)
    else:
        run, about = plain(args.file) if args.plain else ours(args.file)
        runs = [run]
    marker = ctypes.CDLL(str(args.marker))
    for _ in range(args.warm):
        for run in runs:
            run()
    gc.disable()
    for _ in range(args.windows):
        for run in runs:
            marker.edgelm_mark_open()
            run()
            marker.edgelm_mark_close()
    args.maps.write_text(Path("/proc/self/maps").read_text())
    print(json.dumps(about))
    sys.stdout.flush()
    os._exit(0)  # engines' threads and tables are slow to tear down in emulation, and nothing is left to do


if __name__ == "__main__":
    main()
