"""What decoding costs beside the network it follows, at one thread, in turns. Exits with 1 where it is over the limit.

    taskset -c 1 python benchmarks/decode_share.py            # CU-Net-2 at 256 x 256, 68 maps of 64 x 64; needs torch
    taskset -c 1 python benchmarks/decode_share.py MODEL ...

The heatmaps are the network's own, for one crop; the default networks have random weights, and so have their maps peaks
in random places.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from edgelm import decode
from edgelm.bench.interleave import interleave, pin
from edgelm.runtimes.decoding import decode_maps
from edgelm.runtimes.engines import open_session

LIMIT = 0.03
"""Of the network's time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    pin(1)
    with tempfile.TemporaryDirectory() as folder:
        fine = measure(args.models or networks(Path(folder)), args.rounds)
    if not fine:
        sys.exit(f"decoding takes more than {LIMIT:.0%}")


def networks(folder: Path) -> list[Path]:
    """CU-Net-2 as it comes and with everything quantized, for 68 landmarks at 256 x 256 px."""
    from networks import PRECISIONS

    from edgelm.export.pipeline import export
    from edgelm.models.checkpoint import save_checkpoint
    from edgelm.models.create import create, randomize

    made = []
    for precision in ("W1A32", "W1A1"):
        suffix, real, _ = PRECISIONS[precision]
        entry, model, spec = create(f"cunet2{suffix}", landmarks=68, size=256)
        randomize(model, 256, 0)
        save_checkpoint(checkpoint := folder / f"{precision}.pt", entry, model, spec)
        for target in ("onnx", "tflite"):
            made.append(folder / f"{precision}.{target}")
            export(checkpoint, target, made[-1], real=real, verify=False)
    return made


def measure(models: list[Path], rounds: int) -> bool:
    """Prints the figures; whether all are within the limit."""
    fine = True
    for path in models:
        with open_session(path, threads=1) as session:
            spec = session.spec
            side = (1, spec.input.height, spec.input.width, 3)
            crop = np.random.default_rng(0).random(side, dtype=np.float32)
            maps = session.run(crop)
            entries: dict[str, Callable[[], object]] = {
                "network": session.prepared(crop),
                "decode": partial(decode_maps, maps, spec),
                "numpy": partial(decode.decode, maps, spec.decode, spec.score),
                "dark": partial(decode.decode, maps, spec.decode, spec.score, refinement="dark"),
            }
            times = interleave(entries, rounds=rounds, progress=partial(print, file=sys.stderr))
        network, plain, slow, dark = (times[name].median_ms for name in entries)
        fine &= plain <= LIMIT * network
        calm = "" if all(timing.valid for timing in times.values()) else "  NOT VALID: disturbed"
        shape = "x".join(map(str, maps.shape[1:]))
        print(
            f"{path.name}: {shape} {spec.decode} {spec.score}: decode {plain:.3f} ms, network {network:.2f} ms, "
            f"{plain / network:.2%}; by numpy {slow / network:.2%}, with dark {dark / network:.2%}{calm}"
        )
    return fine


if __name__ == "__main__":
    main()
