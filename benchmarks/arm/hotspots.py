"""Where the instructions and the estimated cycles of an inference on an emulated Raspberry Pi go.

    python benchmarks/arm/hotspots.py edgelm/zoo/large/face68-cunet2-bwa.tflite --cpu a72 --blocks 5
    python benchmarks/arm/hotspots.py "W1A8:3x3 128->32 64x64" --cpu a76

Takes a model file of ours, with --plain any that its engine runs alone, or a layer of edgelm/bench/shapes.py.
Functions have names where the library was not stripped, blocks have lines of source where it has debug information.
Cycles are static estimates of LLVM's scheduling model, before calibration: see docs/arm-speed.md.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from counting import Block, classes, count, instructions
from crossbuild import BuildError
from mca import Estimate, disassemble, estimate
from room import BOARDS, ROOT, Room
from single import parse_layer, write_layer
from symbols import Places

from edgelm.errors import EdgelmError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a model file, or a layer such as 'W1A8:3x3 128->32 64x64'")
    parser.add_argument("--room", type=Path, default=ROOT / ".arm")
    parser.add_argument("--cpu", choices=list(BOARDS), default="a72")
    parser.add_argument("--library", type=Path, help="libedgelm.so for 64-bit ARM, not stripped; by default built")
    parser.add_argument("--plain", action="store_true", help="by the file's engine, without edgelm")
    parser.add_argument("--functions", type=int, default=15, help="how many are shown")
    parser.add_argument("--blocks", type=int, default=0, help="how many are shown with their instructions")
    parser.add_argument("--warm", type=int, default=3, help="inferences before the counted ones")
    args = parser.parse_args()
    room = Room(args.room.resolve())
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(args.file)
            if not path.exists():
                path = Path(folder) / "layer.npz"
                write_layer(wanted := parse_layer(args.file), path)
            counted = count(
                room, args.cpu, path, library=args.library or room.library, plain=args.plain, warm=args.warm
            )
        found = estimate(room, args.cpu, counted.window)
    except (BuildError, EdgelmError) as error:
        sys.exit(f"hotspots: {error}")
    total = instructions(counted.window)
    kinds = ", ".join(f"{name} {share / total:.0%}" for name, share in classes(counted.window).items())
    print(f"{args.file} on {args.cpu}, {' '.join(map(str, counted.about.values()))}")
    print(f"{total / 1e6:.3f} M instructions: {kinds}")
    print(f"{found.cycles / 1e6:.3f} M cycles (estimate, {BOARDS[args.cpu].scheduling} model, not calibrated), "
          f"{total / found.cycles:.2f} instructions a cycle")  # fmt: skip
    if path.suffix == ".npz":
        print(f"{wanted.shape.macs / found.cycles:.1f} MAC a cycle (estimate), "
              f"{wanted.shape.macs / total:.1f} MAC an instruction")  # fmt: skip
    places = Places(room, counted.mappings)
    _functions(args.functions, found, places)
    heaviest = sorted(found.costs, key=lambda block: found.window[block] * found.costs[block].cycles, reverse=True)
    for block in heaviest[: args.blocks]:
        _block(room, block, found, places)


def function_cycles(cost: Estimate, places: Places) -> Counter[str]:
    """Cycles by function; blocks that were not costed are assumed to be like the rest, as in the total."""
    rate = cost.cycles / instructions(cost.window)
    cycles: Counter[str] = Counter()
    for block, runs in cost.window.items():
        each = cost.costs[block].cycles if block in cost.costs else rate * len(block.words)
        cycles[places.function(block.address)] += round(runs * each)
    return cycles


def _functions(most: int, found: Estimate, places: Places) -> None:
    held: Counter[str] = Counter()
    for block, runs in found.window.items():
        held[places.function(block.address)] += runs * len(block.words)
    cycles = function_cycles(found, places)
    print(f"\n{'cycles':>7} {'instr.':>7} {'M cycles':>9}  function")
    for name, share in cycles.most_common(most):
        print(f"{share / cycles.total():7.1%} {held[name] / held.total():7.1%} {share / 1e6:9.3f}  {name}")


def _block(room: Room, block: Block, found: Estimate, places: Places) -> None:
    cost, runs = found.costs[block], found.window[block]
    print(f"\n{runs * cost.cycles / found.cycles:.1%} of the cycles: {places.function(block.address)} "
          f"{places.line(block.address)} at {places.inside(block.address):#x}, {runs} times")  # fmt: skip
    print(
        f"{len(block.words)} instructions, {cost.cycles:.1f} cycles each time (estimate; busiest unit {cost.bound:.1f})"
    )
    for text in disassemble(room, block.words):
        print(f"    {text or '?'}")


if __name__ == "__main__":
    main()
