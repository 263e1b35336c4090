"""Do all files of one model find the same landmarks, and as well, as torch does? On annotated faces.

    python benchmarks/parity.py CHECKPOINT FOLDER [--json]

Exports the checkpoint four ways (ONNX and TFLite, with the custom op and portable), runs each through
`edgelm.Runtime` on the faces of FOLDER (NAME.jpg beside NAME.pts, boxes tight around the landmarks), and compares with
torch on the same crops: share of the points within 0.05 image px, NME by the outer eye corners. A point that differs
more is a tie where torch's two highest heatmap values, or the two neighbours that say which way to refine, are nearly
equal.
Exit status 1 where fewer than 99.9 % of the points agree or an NME differs by 0.01 points or more.
N = images, K = landmarks.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelm import Runtime
from edgelm.decode import decidable, decode, to_image
from edgelm.export.pipeline import TARGETS, export
from edgelm.images import read_image
from edgelm.models.checkpoint import load_checkpoint
from edgelm.models.datasets import open_data
from edgelm.models.evaluate import network_runner
from edgelm.models.metrics import nme

NEAR_PX = 0.05
AGREE = 0.999
NME_POINTS = 0.01
TIE = 1e-3  # share of the map's range


@dataclass(frozen=True)
class Row:
    """One file against torch: points that differ by more than NEAR_PX, and how many of those tie in torch's maps."""

    file: str
    bytes: int
    nme: float
    near: float
    differing: int
    ties: int
    max_px: float


def compare(checkpoint: Path, folder: Path) -> tuple[float, int, list[Row]]:
    """NME of torch in percent, the number of points, and a row for each file."""
    source = load_checkpoint(checkpoint)
    run, spec = network_runner(source.model), source.spec
    _, samples = open_data(folder, spec.scheme, "pts")
    truth = np.stack([s.xy for s in samples])
    expected, tied = [], []
    with tempfile.TemporaryDirectory() as work:
        files = {}
        for target in TARGETS:
            for portable in (False, True):
                name = f"{target}{' portable' if portable else ''}"
                path = Path(work, f"{target}{'-portable' if portable else ''}.{target}")
                sys.stderr.write(f"exporting {name}\n")
                export(checkpoint, target, path, portable=portable)
                files[name] = Runtime(path)
        found: dict[str, list[NDArray[Any]]] = {name: [] for name in files}
        for index, sample in enumerate(samples):
            sys.stderr.write(f"\rface {index + 1}/{len(samples)}")
            image = read_image(sample.path)
            for name, runtime in files.items():
                found[name].append(runtime(image, sample.box[None]).xy[0])
            x, matrices = next(iter(files.values())).crop(image, sample.box[None])
            heatmaps = run(x)
            expected.append(to_image(decode(heatmaps, spec.decode, spec.score)[0], matrices, spec)[0])
            tied.append(~decidable(heatmaps, spec.decode, spec.score, margin=TIE)[0])
        sys.stderr.write("\n")
        sizes = {name: os.path.getsize(runtime.session.path) for name, runtime in files.items()}
    reference, ties = np.stack(expected), np.stack(tied)
    rows = []
    for name, points in found.items():
        distance = np.linalg.norm(np.stack(points) - reference, axis=-1)
        far = distance > NEAR_PX
        error = float(nme(np.stack(points), truth, spec.scheme.name).mean())
        rows.append(
            Row(
                name,
                sizes[name],
                error,
                1 - float(far.mean()),
                int(far.sum()),
                int((far & ties).sum()),
                float(distance.max()),
            )
        )
    return float(nme(reference, truth, spec.scheme.name).mean()), reference.shape[0] * reference.shape[1], rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the files of one model with torch on annotated faces.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    error, points, rows = compare(options.checkpoint, options.folder)
    if options.json:
        print(json.dumps({"torch_nme": error, "points": points, "files": [asdict(r) for r in rows]}, indent=2))
    else:
        print(f"torch: NME {error:.3f} % on {points} points; checkpoint {options.checkpoint.stat().st_size} bytes")
        print("| file | bytes | NME % | within 0.05 px | differing | of those ties | max px |")
        print("|---|---|---|---|---|---|---|")
        for r in rows:
            print(f"| {r.file} | {r.bytes} | {r.nme:.3f} | {r.near:.3%} | {r.differing} | {r.ties} | {r.max_px:.3f} |")
    agree = all(r.near >= AGREE and abs(r.nme - error) < NME_POINTS for r in rows)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
