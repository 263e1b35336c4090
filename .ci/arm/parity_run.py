"""Runs the model files that parity_make.py wrote and compares what they answer here with what they answered there.

Usage: parity_run.py [--small] FOLDER [SUFFIX...], with the suffixes of the files that this Python has an engine for;
--small leaves out the bundled model, whose floats take minutes on an emulated CPU. Says for each file how far heatmaps
and points are apart, and exits with 1 where that is more than parity_make.py gives reasons for.
"""

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelm import decode
from edgelm.images import read_image
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import ModelSpec
from edgelm.zoo import photo

HEAD = 4e-6  # of networks of whole numbers: distance of a heatmap value, as a share of the largest one
HEATMAP = 1e-4  # of networks that hold floats: typical distance of a value, as a share of the largest one
TURNED = 0.02  # share of the values that may be farther away than that, where a sign turned
POINT = 0.01  # crop px, of points that are no near ties
PHOTO = 0.5  # crop px, median: versions of OpenCV unpack the photo differently, by a level or two


def points(heatmaps: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float64]:
    """Points (K, 2) in crop px."""
    uv, _ = decode.decode(heatmaps, spec.decode, spec.score)
    crop: NDArray[np.float64] = decode.to_crop(uv, spec)[0]
    return crop


def compare(path: Path, whole_numbers: bool) -> list[str]:
    """What is too far apart, a few words each; says how far all is."""
    portrait = photo()
    if portrait is None:
        sys.exit("parity: this package was built without its photo")
    image = read_image(portrait)
    with np.load(f"{path}.npz") as noted, Runtime(path) as runtime:
        spec, there = runtime.spec, noted["heatmaps"]
        here = runtime.session.run(noted["x"])
        found = runtime(image, noted["box"])
        # From image px to crop px, so that the bound is one of the network's pixels.
        scale = float(np.linalg.norm(found.crop_matrix[0, 0, :2]))
        in_photo = np.median(np.hypot(*(found.xy - noted["xy"])[0].T)) * scale
        engine = runtime.session.engine_version
    apart = np.abs(here - there) / np.abs(there).max()
    turned = float((apart > HEATMAP).mean())
    clear = decode.decidable(there, spec.decode, spec.score)[0]
    moved = np.hypot(*(points(here, spec) - points(there, spec)).T)[clear].max(initial=0.0)
    said = (
        "the same bits"
        if np.array_equal(here, there)
        else f"heatmap {apart.max():.1e} apart, {turned:.2%} of it over {HEATMAP}"
    )
    print(
        f"{path.name} on {engine}: {said}; {clear.sum()} clear points {moved:.4f} px apart at most, "
        f"in the photo {in_photo:.4f} px as a median",
        flush=True,
    )
    faults = {
        f"a network of whole numbers has heatmaps {apart.max():.1e} apart, and {HEAD} is the bound": (
            whole_numbers and apart.max() > HEAD
        ),
        f"more than {TURNED:.0%} of the heatmaps are farther apart than {HEATMAP}": turned > TURNED,
        f"a clear point is more than {POINT} px away": moved > POINT,
        f"points in the photo are more than {PHOTO} px away": in_photo > PHOTO,
    }
    return [f"{path.name}: {fault}" for fault, holds in faults.items() if holds]


def main() -> None:
    """The command line."""
    small = sys.argv[1] == "--small"
    folder, suffixes = Path(sys.argv[1 + small]), sys.argv[2 + small :]
    listed = json.loads((folder / "files.json").read_text())
    kinds = listed["whole_numbers"] | ({} if small else dict.fromkeys(listed["bundled"], False))
    chosen = [name for name in kinds if not suffixes or name.endswith(tuple(suffixes))]
    if not chosen:
        sys.exit(f"parity: {folder} has no files of {', '.join(suffixes)}")
    faults = [fault for name in chosen for fault in compare(folder / name, kinds[name])]
    if faults:
        sys.exit("parity: " + "\nparity: ".join(faults))
    print(f"parity: {len(chosen)} files agree")


if __name__ == "__main__":
    main()
