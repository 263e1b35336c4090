"""What runs inside the emulated machine: a network or a layer, with a counting window around each inference.

    python guest.py FILE --marker mark.so --maps MAPS --output OUT.npy [--plain] [--warm 2] [--windows 3]

FILE is a model file, run by `edgelm.runtimes.open_session` or with --plain by its engine alone, or an .npz that holds a
program of the native library (`program`, `data`, the NHWC `shape` of its input, and a `step`). Of an .npz the windows
are pairs: a run with the step done once more than needed, and one with it done three times more; their difference is
the step, twice. One thread. Prints JSON about the engine and leaves the network's output as
floats; the counts are the plugin's.
"""

import argparse
import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[[], object]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Work:
    """What is counted.

    Attributes:
        runs: a window each.
        about: for the report.
        output: (1, O, OH, OW) of what a run returned, or None where there is nothing to compare.
    """

    runs: tuple[Run, ...]
    about: dict[str, Any]
    output: Callable[[Any], Floats | None]


def image(H: int, W: int) -> Floats:
    """The input (1, 3, H, W) of every network."""
    return np.random.default_rng(1).random((1, 3, H, W), dtype=np.float32)


def ours(path: Path) -> Work:
    from edgelm.runtimes.engines import open_session

    session = open_session(path, threads=1)
    x = np.ascontiguousarray(image(session.spec.input.height, session.spec.input.width).transpose(0, 2, 3, 1))
    return Work(
        (session.prepared(x),),
        {"engine": session.engine_version},
        lambda result: np.asarray(result[0] if path.suffix == ".onnx" else result),
    )


def plain(path: Path) -> Work:
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        feeds = {source.name: image(*source.shape[2:])}
        about = {"engine": f"onnxruntime {onnxruntime.__version__}"}
        return Work((lambda: session.run(None, feeds),), about, lambda result: np.asarray(result[0]))
    from importlib.metadata import version

    from ai_edge_litert import interpreter

    network = interpreter.Interpreter(str(path), num_threads=1)
    network.allocate_tensors()
    tensor, target = network.get_input_details()[0], network.get_output_details()[0]
    x: Any = image(*tensor["shape"][1:3]).transpose(0, 2, 3, 1)
    if tensor["dtype"] == np.int8:
        scale, zero = tensor["quantization"]
        x = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
    network.set_tensor(tensor["index"], x)

    def output(_result: Any) -> Floats:
        found = network.get_tensor(target["index"]).astype(np.float32)
        if target["dtype"] == np.int8:
            scale, zero = target["quantization"]
            found = (found - zero) * np.float32(scale)
        return np.array(found.transpose(0, 3, 1, 2))

    return Work((network.invoke,), {"engine": f"ai-edge-litert {version('ai-edge-litert')}"}, output)


def step(path: Path) -> Work:
    from edgelm.runtimes.native import QuantGraph

    with np.load(path) as file:
        graph = QuantGraph(file["program"], file["data"])
        shape, index = tuple(file["shape"]), int(file["step"])
    x = np.random.default_rng(1).random(shape, dtype=np.float32)
    info = graph.steps()[index]
    about = {"kind": info.kind, "isa": info.isa, "op": info.op, "engine": "the native library"}
    runs = (lambda: graph.repeat([x], index, 1, "NHWC"), lambda: graph.repeat([x], index, 3, "NHWC"))
    return Work(runs, about, lambda _result: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--marker", type=Path, required=True, help="mark.c as a shared library of this machine")
    parser.add_argument("--maps", type=Path, required=True, help="where to write this process's memory map")
    parser.add_argument("--output", type=Path, required=True, help="where to write the network's output")
    parser.add_argument("--plain", action="store_true", help="by the file's engine, without edgelm")
    parser.add_argument("--warm", type=int, default=2, help="runs before the first window")
    parser.add_argument("--windows", type=int, default=3)
    args = parser.parse_args()
    work = (step if args.file.suffix == ".npz" else plain if args.plain else ours)(args.file)
    marker = ctypes.CDLL(str(args.marker))
    for _ in range(args.warm):
        for run in work.runs:
            run()
    gc.disable()
    for _ in range(args.windows):
        for run in work.runs:
            marker.edgelm_mark_open()
            result = run()
            marker.edgelm_mark_close()
    args.maps.write_text(Path("/proc/self/maps").read_text())
    if (found := work.output(result)) is not None:
        np.save(args.output, found)
    print(json.dumps(work.about))
    sys.stdout.flush()
    os._exit(0)  # engines' threads and tables are slow to tear down in emulation, and nothing is left to do


if __name__ == "__main__":
    main()
