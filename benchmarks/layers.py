"""Every kernel on single layers against other engines' convolutions, shape by shape, all of one shape in turns.

    taskset -c 1 python benchmarks/layers.py -o benchmarks/results/layers.json
    taskset -c 1 python benchmarks/layers.py --shapes "3x3 128->32 64x64,1x1 288" --add -o layers.json

A rival is a network of one convolution and its ReLU, and its time is of one call: at ONNX Runtime, OpenVINO and ncnn
with the reordering between NCHW and the engine's own layout, which in a whole network stands at its ends alone; LiteRT
has none. A kernel of ours is timed in the library, in the two forms of `edgelm bench --kernels`. One thread.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import edgelm
from edgelm.atomic import write_atomic
from edgelm.bench.device import cpu_model, device_info
from edgelm.bench.interleave import NOISE_LIMIT, Clocked, interleave, pin
from edgelm.bench.kernels import PRECISIONS, Entry, check_rate, verified_entries
from edgelm.bench.layer_net import layer_files, layer_weight, real_layer
from edgelm.bench.rivals import RIVALS, UnavailableError, compare, open_rival, reference
from edgelm.bench.shapes import SHAPES, LayerShape
from edgelm.errors import EdgelmError
from edgelm.export.quant_graph import encode
from edgelm.runtimes.native import QuantGraph, kernel_peak, kernels

Peaks = Mapping[tuple[str, str], float | None]
YARDSTICK = "ort-fp32"


def peaks() -> Peaks:
    """GMAC/s by kind and instruction set of this CPU, the widest set last."""
    return {(kernel.kind, kernel.isa): kernel_peak(kernel) for kernel in kernels() if kernel.able}


def best_kernels(shape: LayerShape, x: Any, isas: list[str], precisions: list[str]) -> dict[str, Entry]:
    """Of each precision and form the verified entry of the widest instruction set."""
    found = verified_entries(shape, x, isas, precisions)
    widest = sorted(found, key=lambda entry: isas.index(entry.labels["isa"]))
    chosen = {f"{entry.labels['precision']} {entry.labels['form']}": entry for entry in widest}
    names = dict.fromkeys(f"{entry.labels['precision']} {entry.labels['form']}" for entry in found)
    return {name: chosen[name] for name in names}


def measure(
    shape: LayerShape, core: Peaks, precisions: list[str], rivals: list[str], rounds: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of a shape, and the rivals that it lacks with the reason."""
    x = np.random.default_rng(1).random((1, shape.C, shape.H, shape.W), dtype=np.float32)
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    isas = list(dict.fromkeys(isa for _, isa in core if isa != "scalar")) or ["scalar"]
    ours = best_kernels(shape, nhwc, isas, precisions)
    entries: dict[str, Callable[[], object]] = {
        name: Clocked(partial(_once, entry, nhwc)) for name, entry in ours.items()
    }
    missing: dict[str, str] = {}
    correlation: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        weight = layer_weight(shape)
        onnx, tflite = layer_files(shape, weight, Path(folder))
        expected = reference(onnx, x)
        with QuantGraph(*encode(real_layer(shape, weight))) as graph:
            compare(graph([x])[0], expected, exact=True)
        for rival in rivals:
            try:
                opened = open_rival(rival, onnx, tflite, x, 1, expected)
            except UnavailableError as why:
                missing[rival] = str(why)
                continue
            entries[rival], correlation[rival] = opened.run, opened.correlation
        timings = interleave(entries, rounds=rounds, warm=1, progress=partial(print, file=sys.stderr))
    medians = {name: timing.median_ms for name, timing in timings.items()}
    best = {
        "ort-fp32": medians.get(YARDSTICK),
        "best_float": min((medians[r] for r in correlation if not r.endswith("int8")), default=None),
        "best_int8": min((medians[r] for r in correlation if r.endswith("int8")), default=None),
    }
    rows = []
    for name, timing in timings.items():
        rate = shape.macs / timing.median_ms / 1e6
        kind, isa = (ours[name].labels["kind"], ours[name].labels["isa"]) if name in ours else (_arithmetic(name), None)
        peak = core.get((kind, isa or isas[-1]))
        if name in ours:
            check_rate(f"{shape.name} {name}", rate, peak)
        rows.append(
            {
                "layer": shape.name,
                "networks": shape.networks,
                "name": name,
                "kind": kind,
                "isa": isa,
                "median_ms": timing.median_ms,
                "min_ms": timing.min_ms,
                "gmacs": rate,
                "peak_share": rate / peak if peak else None,
                "speedup": {rival: ms / timing.median_ms for rival, ms in best.items() if ms is not None},
                "correlation": correlation.get(name),
                "valid": timing.median_ms <= NOISE_LIMIT * timing.min_ms,
            }
        )
    return rows, missing


def _arithmetic(rival: str) -> str:
    """The kind of kernel of ours with a rival's arithmetic, whose peak is the rival's too; Winograd can be above it."""
    return "r8" if rival.endswith("int8") else "r32"


def _once(entry: Entry, x: Any) -> float:
    entry.times.clear()
    entry.run(x, 1)
    return entry.times[0]


def show(rows: list[dict[str, Any]]) -> None:
    print(f"{rows[0]['layer']} ({rows[0]['networks']})")
    for row in rows:
        share = "" if row["peak_share"] is None else f"{row['peak_share']:.0%}"
        ratios = "  ".join(f"{ratio:6.2f}x {rival}" for rival, ratio in row["speedup"].items())
        noise = "" if row["valid"] else "  NOT VALID: disturbed"
        print(f"  {row['name']:16} {row['median_ms']:9.4f} ms {row['gmacs']:6.0f} GMAC/s {share:>5}  {ratios}{noise}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", help="beginnings of layers' names, by commas; else all")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--against", default=",".join(RIVALS))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path, required=True, help="written anew after every shape")
    parser.add_argument("--add", action="store_true", help="keep what the output file holds of other shapes")
    args = parser.parse_args()
    wanted = tuple(args.shapes.split(",")) if args.shapes else ("",)
    shapes = [shape for shape in SHAPES if shape.name.startswith(wanted)]
    if not shapes:
        parser.error(f"no layer begins with {args.shapes}; known are {', '.join(shape.name for shape in SHAPES)}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    cpu, core = pin(1), peaks()
    rows: list[dict[str, Any]] = []
    unavailable: dict[str, dict[str, str]] = {}
    if args.add and args.output.exists():
        before = json.loads(args.output.read_text())
        if (before["device"]["cpu"], before["rounds"]) != (cpu_model(), args.rounds):
            parser.error(f"{args.output} is of another CPU or number of rounds, start a new one")
        names = {shape.name for shape in shapes}
        rows = [row for row in before["rows"] if row["layer"] not in names]
        unavailable = {layer: why for layer, why in before["unavailable"].items() if layer not in names}
    for shape in shapes:
        try:
            made, missing = measure(shape, core, args.precisions.split(","), args.against.split(","), args.rounds)
        except UnavailableError as why:
            raise EdgelmError(f"{shape.name}: our float32 kernel or ONNX Runtime cannot be trusted: {why}") from why
        rows += made
        if missing:
            unavailable[shape.name] = missing
        show(made)
        order = [known.name for known in SHAPES]
        rows.sort(key=lambda row: order.index(row["layer"]))
        report = {
            "edgelm": edgelm.__version__,
            "device": device_info(),
            "pinned_cpu": cpu,
            "rounds": args.rounds,
            "valid": all(row["valid"] for row in rows),
            "peaks": [{"kind": kind, "isa": isa, "gmacs": peak} for (kind, isa), peak in core.items() if peak],
            "rows": rows,
            "unavailable": unavailable,
        }
        write_atomic(args.output, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    main()
