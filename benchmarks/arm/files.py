"""The model files of a report: a network in every precision, and its float twin's forms for other engines.

Weights are random: counts do not depend on them. Files are made once and kept in the room, in a folder named by the
sources that made them. Needs torch and onnx.
"""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from room import ROOT, Room

from edgelm.atomic import write_atomic

sys.path.append(str(ROOT / "benchmarks"))  # one list of precisions for all benchmarks
from networks import PRECISIONS


@dataclass(frozen=True)
class Network:
    """A network to count.

    Attributes:
        name: registered, without a suffix.
        landmarks: how many.
        size: side of its input in px.
        precisions: of networks.PRECISIONS.
        targets: of the export.
        windows: inferences that are counted and compared; 1 where an emulated one takes minutes.
        bundled: a file of edgelm/zoo/large of this very network, without its suffix.
    """

    name: str
    landmarks: int
    size: int
    precisions: tuple[str, ...] = ("W1A1", "W1A6", "W1A8", "W1A13")
    targets: tuple[str, ...] = ("onnx", "tflite")
    windows: int = 3
    bundled: str | None = None

    @property
    def title(self) -> str:
        """For example "cunet8 256x256"."""
        return f"{self.name} {self.size}x{self.size}"


@dataclass(frozen=True)
class File:
    """A file to count.

    Attributes:
        label: of its row, for example "W1A8 onnx" or "ort-int8".
        path: of the file.
        plain: another engine's alone.
    """

    label: str
    path: Path
    plain: bool

    @property
    def exact(self) -> bool:
        """Whether its output must be that of the reference but for rounding."""
        return not self.label.endswith("int8")


NETWORKS = {
    "cunet2": Network("cunet2", 68, 128, bundled="face68-cunet2-bwa"),
    # Emulating a float inference of it takes minutes. The smaller network shows W1A32, and what the engines differ in.
    "cunet8": Network("cunet8", 16, 256, targets=("tflite",), windows=1),
}
RIVALS = ("ort-fp32", "ort-int8", "litert-fp32", "litert-int8")


def network_files(room: Room, network: Network) -> Iterator[File]:
    """Make what is missing, and return all files of a network, ours first."""
    folder = room.cache / "files" / _sources() / f"{network.name}-{network.size}-{network.landmarks}"
    folder.mkdir(parents=True, exist_ok=True)
    for precision in network.precisions:
        for target in network.targets:
            path = folder / f"{precision}.{target}"
            if not path.exists():
                _export(network, precision, target, path)
            yield File(f"{precision} {target}", path, False)
    if network.bundled:
        for target in network.targets:
            yield File(f"W1A32 (bundled) {target}", ROOT / "edgelm/zoo/large" / f"{network.bundled}.{target}", False)
    for rival in RIVALS:
        path = folder / f"{rival}.{'onnx' if rival.startswith('ort') else 'tflite'}"
        if not path.exists():
            _make_rivals(network, folder)
        yield File(rival, path, True)


def _checkpoint(network: Network, precision: str, path: Path) -> None:
    from edgelm.models.checkpoint import save_checkpoint
    from edgelm.models.create import create, randomize

    entry, model, spec = create(
        f"{network.name}{PRECISIONS[precision][0]}", landmarks=network.landmarks, size=network.size
    )
    randomize(model, network.size, 0)
    save_checkpoint(path, entry, model, spec)


def _export(network: Network, precision: str, target: str, path: Path) -> None:
    from edgelm.export.pipeline import export

    checkpoint = path.with_name(f"{precision}.pt")
    if not checkpoint.exists():
        _checkpoint(network, precision, checkpoint)
    _, real, activations = PRECISIONS[precision]
    export(checkpoint, target, path, real=real, activations=activations, verify=False)


def _make_rivals(network: Network, folder: Path) -> None:
    import tempfile

    from edgelm.bench.against import float_twin
    from edgelm.bench.convert import int8_onnx, int8_tflite

    side = network.size
    with tempfile.TemporaryDirectory() as name:
        checkpoint, made = Path(name) / "any.pt", Path(name)
        _checkpoint(network, "W1A1", checkpoint)
        onnx, tflite = float_twin(checkpoint, made)
        int8_onnx(onnx, (1, 3, side, side), made / "int8.onnx")
        int8_tflite(tflite, (1, side, side, 3), made / "int8.tflite")
        sources = (onnx, made / "int8.onnx", tflite, made / "int8.tflite")
        for rival, source in zip(RIVALS, sources, strict=True):
            write_atomic(folder / f"{rival}{source.suffix}", source.read_bytes())


def _sources() -> str:
    """A digest of what makes the files."""
    digest = hashlib.sha256()
    makers = [path for folder in ("export", "models") for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in (*makers, ROOT / "benchmarks" / "networks.py", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
