"""Exports small networks and notes what this machine computes with them, for parity_run.py to repeat on another.

Usage: parity_make.py FOLDER. Needs torch. For each network FOLDER gets NAME.onnx, NAME.tflite and what each answers,
NAME.onnx.npz and NAME.tflite.npz: an input and its heatmaps, points and scores, and the points of a box of the photo.

What may differ elsewhere, and why:
- Inside networks of whole numbers (`real int8`, activations of 1, 6 and 8 bits) nothing: sums are whole numbers, and
  what follows is one float operation after the other, never fused, in one order. Their last convolution has float
  weights; its sums are fused multiply-adds on some instruction sets and not on others, and added in orders of their
  own. HEAD holds their heatmaps to the rounding of that one sum, which an error in an earlier layer would exceed.
- The others, among them the bundled one, begin with such sums, too. Where one is next to a quantizer's step, a sign
  turns, and from there on pixels of a heatmap: HEATMAP for values, TURNED for the share that may be farther away.
- Points are those of clear peaks (`edgelm.decode.decidable`): POINT. Points in the photo hold near ties, too: PHOTO,
  as a median. Its JPEG is unpacked by each machine's own OpenCV, and its crop has the same bits then.
"""

import json
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import nn

from edgelm import zoo
from edgelm.export import pipeline
from edgelm.export.capture import capture
from edgelm.images import read_image
from edgelm.models.checkpoint import save_checkpoint
from edgelm.models.create import default_spec, randomize
from edgelm.models.cunet import CUNetConfig
from edgelm.models.registry import SCHEMES, Entry, get_family
from edgelm.runtimes.runtime import Runtime
from edgelm.spec import ModelSpec
from edgelm.testvector import synthetic_input

# Suffix of the scheme's name, what becomes of real weights, and whether all but the last are whole numbers then.
NETWORKS = (("-bwa", "int8", True), ("-bw-a6", "int8", True), ("-bw-a8", "int8", True), ("-bw", "float", False))
CONFIG = CUNetConfig(nets=1, width=72, growth=24, order=0, classes=12)  # no multiples of the widest vectors
SIDE = 128  # px: emulators take long
BOX = (0.3, 0.05, 0.65, 0.5)  # of the photo's width and height, around the face


def write(folder: Path, scheme: str, real: str) -> list[Path]:
    """Exports a network with random weights for both engines."""
    entry = Entry(f"small{scheme}", get_family("cunet"), CONFIG, SCHEMES[scheme])
    torch.manual_seed(0)
    model = entry.family.build(entry.config, entry.scheme)
    randomize(model, SIDE, 0)
    checkpoint = folder / f"small{scheme}.pt"
    save_checkpoint(checkpoint, entry, model, default_spec(entry, SIDE))
    # One trace for both files: it takes longer than all the rest.
    traced: list[onnx.ModelProto] = []

    def remembered(model: nn.Module, spec: ModelSpec) -> ir.Model:
        if not traced:
            traced.append(ir.to_proto(capture(model, spec)))
        return ir.from_proto(traced[0])

    # Not verified: random weights amplify the rounding of floats in torch, and torch is not what this is about.
    with patch.object(pipeline, "capture", remembered):
        paths = [pipeline.export(checkpoint, target, real=real, verify=False).path for target in ("onnx", "tflite")]
    checkpoint.unlink()
    return paths


def portrait() -> Path:
    """The photo in the package."""
    path = zoo.photo()
    if path is None:
        sys.exit("parity: this package was built without its photo")
    return path


def note(path: Path) -> None:
    """Writes beside a model file what it answers here."""
    with Runtime(path) as runtime:
        size = runtime.spec.input
        x = synthetic_input(0, size.height, size.width)
        heatmaps = runtime.session.run(x)
        image = read_image(portrait())
        height, width = image.shape[:2]
        box = np.array([BOX], np.float32) * np.array([width, height, width, height], np.float32)
        found = runtime(image, box)
    np.savez(f"{path}.npz", x=x, heatmaps=heatmaps, box=box, xy=found.xy, score=found.score)


def main() -> None:
    """The command line."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole_numbers: dict[str, bool] = {}
    bundled: list[str] = []
    for scheme, real, whole in NETWORKS:
        whole_numbers |= {path.name: whole for path in write(folder, scheme, real)}
    for path in zoo.bundled():
        shutil.copy(path, folder)
        bundled.append(path.name)
    for name in (*whole_numbers, *bundled):
        note(folder / name)
    listed = {"whole_numbers": whole_numbers, "bundled": bundled}
    (folder / "files.json").write_text(json.dumps(listed))
    print(f"{len(whole_numbers) + len(bundled)} files exported")


if __name__ == "__main__":
    main()
