"""A gate on speed that needs no clock: two small networks must not take more instructions than were recorded.

    python benchmarks/arm/gate.py                 # fails where a count has grown by more than 1 %
    python benchmarks/arm/gate.py --update        # records the counts of this checkout

Counted are the instructions inside libedgelm.so alone, so that a new release of an engine moves nothing; what an engine
does around our operator is in the report. The library is built here, by the compiler that the record names: another one
makes other instructions of the same sources, and is refused. Needs the emulated Pythons that `make arm` sets up.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from counting import WARM, count, instructions, within
from crossbuild import BuildError, compiler_version
from room import ROOT, Room

from edgelm.atomic import write_atomic
from edgelm.errors import EdgelmError

RECORD = ROOT / "benchmarks" / "results" / "arm_gate.json"
MOST_GROWTH = 0.01
NETWORKS = {"face68-cunet2-bwa.tflite": "a72", "cunet2-xnor.onnx": "a76"}
"""The bundled one with float activations, and one that is bits throughout, each with the core that counts it."""


def xnor(folder: Path) -> Path:
    """A small network of bits as .onnx, with random weights."""
    from edgelm.export.pipeline import export
    from edgelm.models.checkpoint import save_checkpoint
    from edgelm.models.create import create, randomize

    checkpoint, path = folder / "cunet2-xnor.pt", folder / "cunet2-xnor.onnx"
    entry, model, spec = create("cunet2-xnor", landmarks=5, size=64)
    randomize(model, 64, 0)
    save_checkpoint(checkpoint, entry, model, spec)
    export(checkpoint, "onnx", path, real="int8", verify=False)
    return path


def measure(room: Room, library: Path) -> dict[str, int]:
    """Instructions of one inference inside our library, by network."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, cpu in NETWORKS.items():
            bundled = ROOT / "edgelm" / "zoo" / "large" / name
            path = bundled if bundled.exists() else xnor(Path(folder))
            warm = WARM if path.suffix == ".onnx" else 1
            # One window: what varies from run to run is outside the library.
            counted = count(room, cpu, path, library=library, warm=warm, windows=1)
            found[name] = instructions(within(counted.window, counted.mappings, library))
    return found


def faults(found: dict[str, int], record: dict[str, Any], compiler: str) -> list[str]:
    """What speaks against the counts, as sentences."""
    if compiler != record["compiler"]:
        return [
            f"the record is of {record['compiler']}, this library of {compiler}: counts of two compilers do not "
            "compare; take that one, or record the counts of this one with `python benchmarks/arm/gate.py --update`"
        ]
    before = record["instructions"]
    if set(found) != set(before):
        return [f"the record has {sorted(before)}, counted were {sorted(found)}; record them with --update"]
    return [
        f"{name} takes {number / 1e6:.3f} M instructions, {number / before[name] - 1:.2%} more than the "
        f"{before[name] / 1e6:.3f} M recorded, at most {MOST_GROWTH:.0%} is allowed; see where they go with "
        "`python benchmarks/arm/hotspots.py`, and where the growth is wanted record it with "
        "`python benchmarks/arm/gate.py --update` and say why in the commit"
        for name, number in found.items()
        if number > before[name] * (1 + MOST_GROWTH)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", type=Path, default=ROOT / ".arm")
    parser.add_argument("--library", type=Path, help="libedgelm.so for 64-bit ARM; by default built from this checkout")
    parser.add_argument("--update", action="store_true", help="record what is counted")
    args = parser.parse_args()
    room = Room(args.room.resolve())
    try:
        compiler = compiler_version()
        found = measure(room, (args.library or room.library).resolve())
    except (BuildError, EdgelmError) as error:
        sys.exit(f"gate: {error}")
    if args.update:
        record = {"compiler": compiler, "instructions": found}
        write_atomic(RECORD, (json.dumps(record, indent=1) + "\n").encode())
    record = json.loads(RECORD.read_text())
    for name, number in found.items():
        before = record["instructions"].get(name)
        change = "" if before is None else f", {number / before - 1:+.2%} from the record"
        print(f"{name} on {NETWORKS[name]}: {number / 1e6:.3f} M instructions in our library{change}")
    if wrong := faults(found, record, compiler):
        sys.exit("\n".join(f"gate: {fault}" for fault in wrong))


if __name__ == "__main__":
    main()
