"""The models that edgelm carries: small, self-consistent on both engines, and right on real faces."""

from pathlib import Path

import numpy as np
import pytest

from edgelm import Runtime, zoo
from edgelm.errors import EngineMissingError
from edgelm.images import read_image
from edgelm.models.datasets import open_data
from edgelm.models.metrics import nme

FACES = Path(__file__).parents[2] / "shared" / "data" / "faces68" / "val"
# Read off the portrait by eye, image px: outer and inner corners of both eyes, tip of the nose, corners of the mouth.
PORTRAIT = {
    36: (192.5, 101),
    39: (212, 104),
    42: (238, 105),
    45: (259, 104),
    30: (225, 127),
    48: (203, 141),
    54: (246, 141),
}
PORTRAIT_PX = 4.5  # 7 % of the distance of her outer eye corners; a px of it is the reader's
NME_LIMIT = {"face68-cunet2-m64n16-bwa": 4.5, "face68-cunet2-bwa": 4.0}  # percent, of unseen faces


@pytest.fixture(scope="module", params=zoo.bundled() + zoo.large(), ids=lambda p: p.name)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    try:
        return Runtime(request.param)
    except EngineMissingError as missing:  # a device has one engine
        pytest.skip(str(missing))


def test_every_model_has_a_file_of_each_kind_well_below_a_megabyte() -> None:
    bundled, large, checkpoints = zoo.bundled(), zoo.large(), zoo.checkpoints()
    assert [p.suffix for p in bundled] == [".onnx", ".tflite"]
    assert {p.suffix for p in large} in (set(), {".onnx", ".tflite"})
    assert {p.stem for p in checkpoints} in (set(), {p.stem for p in bundled + large})
    assert bool(large) == bool(checkpoints), "both are in the source tree, and in no wheel"
    assert all(p.stat().st_size < 200_000 for p in bundled)
    assert all(p.stat().st_size < 600_000 for p in large + checkpoints)


def test_selftest(runtime: Runtime) -> None:
    report = runtime.selftest()
    assert report.passed
    assert report.decidable.sum() >= 20


def test_files_hold_the_weights_of_the_checkpoint(runtime: Runtime) -> None:
    pytest.importorskip("torch", reason="reading a checkpoint needs torch")
    from edgelm.export.pipeline import weights_sha256
    from edgelm.models.checkpoint import load_checkpoint

    checkpoints = [path for path in zoo.checkpoints() if path.stem == Path(runtime.session.path).stem]
    if not checkpoints:
        pytest.skip("wheels carry no checkpoint")
    (checkpoint,) = checkpoints
    assert runtime.spec.weights_sha256 == weights_sha256(load_checkpoint(checkpoint).model)


def test_points_lie_where_they_belong_on_the_portrait(runtime: Runtime) -> None:
    photo = zoo.photo()
    assert photo is not None
    found = runtime(read_image(photo))
    assert len(found) == 1
    for index, place in PORTRAIT.items():
        assert np.linalg.norm(found.xy[0, index] - place) < PORTRAIT_PX, index


@pytest.mark.skipif(not FACES.is_dir(), reason="the annotated faces of the data set are not beside this checkout")
def test_error_on_unseen_faces(runtime: Runtime) -> None:
    _, samples = open_data(FACES, runtime.spec.scheme)
    found = np.concatenate([runtime(read_image(s.path), s.box[None]).xy for s in samples])
    errors = nme(found, np.stack([s.xy for s in samples]), runtime.spec.scheme.name)
    assert errors.mean() < NME_LIMIT[Path(runtime.session.path).stem]
    assert (errors < 10).mean() > 0.97
