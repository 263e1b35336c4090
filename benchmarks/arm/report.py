"""Honest speed on ARM: instructions and estimated cycles of an inference on emulated Raspberry Pis, and the rivals'.

    python benchmarks/arm/report.py                          # as `make arm-report`
    python benchmarks/arm/report.py --networks cunet2 --room .arm

Needs the emulated Pythons that `make arm` sets up. Counts of files, engines and libraries that have not changed are
taken from the room. Writes benchmarks/results/arm.json and the tables of docs/arm-speed.md; what they may and may not
be taken for stands there.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import guest
import numpy as np
from bounds import bounds
from counting import classes, instructions, within
from crossbuild import BuildError, compiler_version, run
from files import NETWORKS, RIVALS, File, Network, network_files
from hotspots import function_cycles
from mca import estimate
from numpy.typing import NDArray
from room import BOARDS, ROOT, Room
from single import LAYERS, Layer, write_layer
from store import counted, engine_versions
from symbols import Places
from tables import DOCUMENT, write_tables

import edgelm
from edgelm.atomic import write_atomic
from edgelm.bench.rivals import reference
from edgelm.errors import EdgelmError
from edgelm.runtimes.engines import open_session

RESULTS = ROOT / "benchmarks" / "results" / "arm.json"
Floats = NDArray[np.float32]


def expected(file: File, float_network: Path, side: int) -> Floats:
    """What a file computes on this machine; of a rival, the float network's output."""
    x = guest.image(side, side)
    if file.plain:
        return reference(float_network, x)
    with open_session(file.path) as session:
        return session.run(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))


def network_row(room: Room, network: Network, cpu: str, file: File, library: Path, twin: Path) -> dict[str, Any]:
    found = counted(room, cpu, file, library, partial(expected, file, twin, network.size), windows=network.windows)
    cost = estimate(room, cpu, found.window)
    total = instructions(found.window)
    ours = instructions(within(found.window, found.mappings, library))
    print(f"{network.title} {file.label} {cpu}: {total / 1e6:.2f} M instructions, "
          f"{cost.cycles / 1e6:.2f} M cycles (estimate)", file=sys.stderr)  # fmt: skip
    return {
        "name": file.label,
        "cpu": cpu,
        "engine": found.about["engine"],
        "instructions": total,
        "classes": classes(found.window),
        "in_our_library": ours,
        "model_cycles": round(cost.cycles),
        "costed_share": round(cost.covered, 4),
    }


def kernel_row(room: Room, cpu: str, layer: Layer, library: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.npz"
        write_layer(layer, path)
        found = counted(room, cpu, File(layer.precision, path, False), library, None)
    cost = estimate(room, cpu, found.window)
    by_function = function_cycles(cost, Places(room, found.mappings))
    kernel, cycles = by_function.most_common(1)[0]
    return {
        "layer": layer.shape.name,
        "precision": layer.precision,
        "cpu": cpu,
        "kind": found.about["kind"],
        "isa": found.about["isa"],
        "macs": layer.shape.macs,
        "instructions": instructions(found.window),
        "model_cycles": round(cost.cycles),
        "kernel": kernel,
        "kernel_cycles": cycles,
    }


def bound_rows(room: Room) -> list[dict[str, Any]]:
    return [
        {"cpu": cpu, "kind": kind, "macs_a_cycle": bound.rate, "way": bound.way.what, "unit": bound.unit}
        for cpu in BOARDS
        for kind, bound in bounds(room, cpu).items()
    ]


def tools(room: Room) -> dict[str, Any]:
    """What the figures depend on beside our sources."""
    return {
        "edgelm": edgelm.__version__,
        "compiler": compiler_version(),
        "qemu": run(["qemu-aarch64", "--version"], room.path).splitlines()[0],
        "llvm": room.tool("llvm-mca", ["--version"]).stdout.split("version ")[1].split()[0],
        "engines": engine_versions(room, next(iter(BOARDS))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", type=Path, default=ROOT / ".arm")
    parser.add_argument("--library", type=Path, help="libedgelm.so for 64-bit ARM; by default built from this checkout")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="by commas; the others keep their rows")
    parser.add_argument("--no-kernels", action="store_true", help="keep the rows of single layers")
    parser.add_argument("--jobs", type=int, default=2, help="emulations at once; counts do not depend on it")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    args = parser.parse_args()
    unknown = [name for name in args.networks.split(",") if name not in NETWORKS]
    if unknown:
        parser.error(f"no network {unknown[0]!r}; known are {', '.join(NETWORKS)}")
    try:
        report = make(args)
    except (BuildError, EdgelmError) as error:
        sys.exit(f"arm-report: {error}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.output, (json.dumps(report, indent=1) + "\n").encode())
    print(write_tables(report, args.document))


def make(args: argparse.Namespace) -> dict[str, Any]:
    room = Room(args.room.resolve())
    library = (args.library or room.library).resolve()
    before = json.loads(args.output.read_text()) if args.output.exists() else {"networks": [], "kernels": []}
    _ = room.plugin, room.marker, room.llvm  # made before several threads ask for them
    tasks: list[Callable[[], dict[str, Any]]] = []
    places: list[tuple[str, str | None]] = []
    for name in args.networks.split(","):
        network = NETWORKS[name]
        files = list(network_files(room, network))
        twin = next(file.path for file in files if file.label == RIVALS[0])
        for file in files:
            for cpu in BOARDS:
                tasks.append(partial(network_row, room, network, cpu, file, library, twin))
                places.append(("networks", network.title))
    if not args.no_kernels:
        for layer in LAYERS:
            tasks += [partial(kernel_row, room, cpu, layer, library) for cpu in BOARDS]
            places += [("kernels", None)] * len(BOARDS)
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            rows = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what follows would take minutes, for nothing
            raise
    networks: dict[str, list[Any]] = {entry["network"]: entry["rows"] for entry in before["networks"]}
    for title in dict.fromkeys(title for kind, title in places if kind == "networks" and title):
        networks[title] = [row for row, place in zip(rows, places, strict=True) if place == ("networks", title)]
    return {
        **tools(room),
        "networks": [{"network": title, "rows": of} for title, of in networks.items()],
        "kernels": before["kernels"] if args.no_kernels else rows[-len(LAYERS) * len(BOARDS) :],
        "bounds": bound_rows(room),
    }


if __name__ == "__main__":
    main()
