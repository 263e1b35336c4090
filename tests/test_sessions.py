"""Sessions of both engines: the reference's answer from whole files, and clear words for files that are not one."""

import dataclasses
import importlib.util
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import examples
from session_models import SPEC, crops, heatmaps, portable_heatmaps, tflite_file

from edgelm.errors import EdgelmError, EngineMissingError, ModelFileError, UsageError
from edgelm.export.tflite_file import Model, Operator, Tensor, constant, write_model
from edgelm.runtimes import base, onnx, tflite
from edgelm.runtimes.base import Session
from edgelm.runtimes.engines import engines, open_session, register_engine
from edgelm.runtimes.onnx import onnx_version
from edgelm.runtimes.onnx_file import OnnxFile, read_onnx
from edgelm.runtimes.tflite import tflite_version
from edgelm.spec import METADATA_KEY

GOLDEN = Path(__file__).parent / "golden"
PORTABLE_TOLERANCE = 1e-5
"""A convolution of 3 channels, whatever order the engine sums them in."""

ENGINES = [
    pytest.param("onnx", marks=pytest.mark.skipif(onnx_version() is None, reason="ONNX Runtime is not installed")),
    pytest.param("tflite", marks=pytest.mark.skipif(tflite_version() is None, reason="no TFLite engine is installed")),
]
FromBytes = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> FromBytes:
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def model(engine: str, *, portable: bool = False) -> bytes:
    if engine == "tflite":
        return tflite_file(portable=portable)
    return (GOLDEN / ("two-points-portable.onnx" if portable else "two-points.onnx")).read_bytes()


def opened(write: FromBytes, engine: str, threads: int = 1, *, portable: bool = False) -> Session:
    return open_session(write(f"two.{engine}", model(engine, portable=portable)), threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_answer(write: FromBytes, engine: str, threads: int) -> None:
    with opened(write, engine, threads) as session:
        for count in (1, 3, 2, 1, 0):
            y = session.run(crops(count))
            assert y.shape == (count, 2, 8, 6)
            assert y.flags.c_contiguous
            np.testing.assert_array_equal(y, heatmaps(crops(count)))


@pytest.mark.parametrize("engine", ENGINES)
def test_describes_itself(write: FromBytes, engine: str) -> None:
    with opened(write, engine, 2) as session:
        assert session.spec == SPEC
        assert (session.engine, session.threads, Path(session.path).name) == (engine, 2, f"two.{engine}")
        assert session.weights_bytes == 2 * 4 + 2 * 3 * 4 + 2 * 2 * 4  # weights, input and output scale and bias
        name, _, version = session.engine_version.partition(" ")
        assert name in ("onnxruntime", "ai-edge-litert", "tflite-runtime")
        assert version[0].isdigit()


@pytest.mark.parametrize("engine", ENGINES)
def test_portable_needs_no_library(write: FromBytes, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELM_LIBRARY", "/nowhere/libedgelm.so")
    with opened(write, engine, portable=True) as session:
        y = session.run(crops(2))
    np.testing.assert_allclose(y, portable_heatmaps(crops(2)), rtol=0, atol=PORTABLE_TOLERANCE)
    with pytest.raises(EdgelmError, match=r"native library is missing at .*nowhere"):
        opened(write, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_run_from_threads(write: FromBytes, engine: str) -> None:
    with opened(write, engine) as session, ThreadPoolExecutor(4) as pool:
        many = [crops(2, seed) for seed in range(40)]
        for x, y in zip(many, pool.map(session.run, many), strict=True):
            np.testing.assert_array_equal(y, heatmaps(x))


@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_input(write: FromBytes, engine: str) -> None:
    with opened(write, engine) as session:
        for wrong in (crops(1)[0], crops(1).transpose(0, 3, 1, 2), crops(1).astype(np.float64)):
            with pytest.raises(UsageError, match=r"a session runs \(N, 16, 12, 3\) float32, got"):
                session.run(wrong)  # type: ignore[arg-type]
        np.testing.assert_array_equal(session.run(crops(4)[::2]), heatmaps(crops(4)[::2]))


@pytest.mark.parametrize("engine", ENGINES)
def test_closed(write: FromBytes, engine: str) -> None:
    session = opened(write, engine)
    session.close()
    session.close()
    with pytest.raises(UsageError, match="is closed; open it again"):
        session.run(crops(1))


# ---- refused


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_file(tmp_path: Path, engine: str) -> None:
    with pytest.raises(ModelFileError, match="there is no model file"):
        open_session(tmp_path / f"two.{engine}")
    (tmp_path / f"folder.{engine}").mkdir()
    with pytest.raises(ModelFileError, match="is not a file"):
        open_session(tmp_path / f"folder.{engine}")


@pytest.mark.parametrize("engine", ENGINES)
def test_damaged_file(write: FromBytes, engine: str) -> None:
    data = model(engine)
    for cut in (0, 1, 7, 8, 100, len(data) // 2, len(data) - 40):
        with pytest.raises(ModelFileError, match="export"):
            open_session(write(f"cut.{engine}", data[:cut]))
    with pytest.raises(ModelFileError, match="export"):
        open_session(write(f"photo.{engine}", b"\xff\xd8\xff\xe0\x00\x10JFIF" * 100))


@pytest.mark.parametrize("engine", ENGINES)
def test_large_file(write: FromBytes, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_FILE_BYTES", 100)
    with pytest.raises(ModelFileError, match="bytes, expected 1 to 100"):
        opened(write, engine)


@pytest.mark.skipif(tflite_version() is None, reason="no TFLite engine is installed")
def test_foreign_tflite(write: FromBytes) -> None:
    with pytest.raises(ModelFileError, match=r"has no entry 'edgelm.spec'; make it with `edgelm export`"):
        open_session(write("two.tflite", tflite_file(None)))
    with pytest.raises(ModelFileError, match=r"custom operators \['edgelm.Later'\]; upgrade edgelm"):
        open_session(write("two.tflite", tflite_file(kind="edgelm.Later")))
    wide = dataclasses.replace(SPEC, heatmap_width=7)
    with pytest.raises(ModelFileError, match=r"an output of shape \(1, 8, 6, 2\), its description says \(1, 8, 7, 2\)"):
        open_session(write("two.tflite", tflite_file(wide)))
    with pytest.raises(
        ModelFileError, match=r"an input of shape \(1, 18, 12, 3\), its description says \(1, 16, 12, 3"
    ):
        open_session(write("two.tflite", tflite_file(size=(18, 12))))


@pytest.mark.skipif(onnx_version() is None, reason="ONNX Runtime is not installed")
def test_foreign_onnx(write: FromBytes) -> None:
    if importlib.util.find_spec("onnx") is None:
        pytest.skip("these models are made with the onnx package")
    from onnx_cases import session_file

    with pytest.raises(ModelFileError, match=r"has no entry 'edgelm.spec'; make it with `edgelm export`"):
        open_session(write("two.onnx", session_file(None)))
    wide = dataclasses.replace(SPEC, heatmap_width=7)
    with pytest.raises(ModelFileError, match=r"an output of shape .*8, 6\), its description says \(1, 2, 8, 7\)"):
        open_session(write("two.onnx", session_file(wide)))
    with open_session(write("two.onnx", session_file(batch=1))) as session:  # a fixed batch of one runs in a loop
        np.testing.assert_array_equal(session.run(crops(3)), heatmaps(crops(3)))


@pytest.mark.skipif(tflite_version() is None, reason="no TFLite engine is installed")
def test_tflite_fails_while_it_runs(write: FromBytes) -> None:
    tensors = [Tensor("image", (1, 16, 12, 3), "int32"), Tensor("floats", (1, 16, 12, 3))]
    tensors += [Tensor("heatmaps", (1, 8, 6, 2)), constant("shape", np.array([1, 8, 6, 2], np.int32))]
    tensors.append(constant("begin", np.zeros(4, np.int32)))
    nodes = [
        Operator("CAST", ("image",), ("floats",)),
        Operator("SLICE", ("floats", "begin", "shape"), ("heatmaps",)),
    ]
    metadata = {METADATA_KEY: dataclasses.replace(SPEC, portable=True).to_json().encode()}
    file = write_model(Model(tensors, nodes, ("image",), ("heatmaps",), metadata))
    session = open_session(write("two.tflite", file))
    with session, pytest.raises(ModelFileError, match=r"cannot run .*two.tflite: Cannot set tensor"):
        session.run(crops(1))


@pytest.mark.skipif(onnx_version() is None, reason="ONNX Runtime is not installed")
def test_onnx_fails_while_it_runs(write: FromBytes) -> None:
    if importlib.util.find_spec("onnx") is None:
        pytest.skip("this model is made with the onnx package")
    from onnx_cases import session_file

    with open_session(write("two.onnx", session_file(frozen=True))) as session:
        np.testing.assert_array_equal(session.run(crops(1)), heatmaps(crops(1)))
        with pytest.raises(ModelFileError, match=r"ONNX Runtime cannot run .*two.onnx: "):
            session.run(crops(2))


@pytest.mark.parametrize("threads", [0, -1, 65, True, 1.0])
@pytest.mark.parametrize("engine", ENGINES)
def test_threads(write: FromBytes, engine: str, threads: int) -> None:
    with pytest.raises(UsageError, match="threads is a whole number from 1 to 64"):
        opened(write, engine, threads)


def test_unknown_engine_and_suffix(write: FromBytes) -> None:
    with pytest.raises(UsageError, match=r"there is no engine 'gpu', known are \['onnx', 'tflite'\]"):
        open_session(write("two.onnx", b""), engine="gpu")
    with pytest.raises(UsageError, match=r"ends in .onnx or .tflite, got 'photo.jpg'"):
        open_session(write("photo.jpg", b""))
    with pytest.raises(UsageError, match=r"ends in .onnx or .tflite, got '\.'"):
        open_session(".")
    with pytest.raises(UsageError, match=r"ends in .tflite, got 'two.onnx'"):
        open_session(write("two.onnx", b""), engine="tflite")
    with pytest.raises(UsageError, match="'onnx' is registered already"):
        register_engine(dataclasses.replace(engines()[0]))


def test_missing_engine(write: FromBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(EngineMissingError, match=r'run `pip install "edgelm\[onnx\]"`'):
        opened(write, "onnx")
    monkeypatch.setattr(tflite, "package_version", lambda package: None)
    with pytest.raises(EngineMissingError, match=r'run `pip install "edgelm\[tflite\]"`'):
        opened(write, "tflite")


@pytest.mark.parametrize("arch", ["aarch64", "arm64"])
def test_a_version_that_crashes_is_not_imported(write: FromBytes, monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)
    monkeypatch.setattr(onnx, "package_version", lambda package: f"{package} 1.21.0")
    monkeypatch.setattr(onnx, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    with pytest.raises(EngineMissingError, match=r"1\.21\.0 .* illegal instruction .*onnxruntime>=1\.21\.1"):
        opened(write, "onnx")
    (engine,) = [engine for engine in engines() if engine.name == "onnx"]
    with pytest.raises(EngineMissingError, match=r"two\.onnx needs ONNX Runtime: onnxruntime 1\.21\.0"):
        engine.load("two.onnx")


@pytest.mark.parametrize(("version", "arch"), [("1.21.0", "x86_64"), ("1.21.1", "aarch64"), ("1.21.0", "armv7l")])
def test_other_versions_and_machines_have_no_problem(monkeypatch: pytest.MonkeyPatch, version: str, arch: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)
    monkeypatch.setattr(onnx, "package_version", lambda package: f"{package} {version}")
    assert onnx.onnx_problem() is None


def test_tflite_runtime_needs_numpy_1(write: FromBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"tflite-runtime": "tflite-runtime 2.14.0", "numpy": "numpy 2.0.1"}
    monkeypatch.setattr(tflite, "package_version", installed.get)
    with pytest.raises(EngineMissingError, match=r'works with numpy 1 and numpy 2\.0\.1 .*pip install "numpy<2"'):
        opened(write, "tflite")
    monkeypatch.setitem(installed, "numpy", "numpy 1.24.2")
    assert tflite.tflite_problem() is None


# ---- the reader of .onnx files

SAMPLE = model("onnx")


def read(data: bytes) -> OnnxFile | None:
    """What the file says, None where it is refused; any other exception is a defect and passes through."""
    try:
        return read_onnx(data)
    except ModelFileError:
        return None


def test_onnx_file() -> None:
    file = read_onnx(SAMPLE)
    assert file.domains == {"", "edgelm"}
    assert file.metadata.keys() == {"edgelm.spec"}
    assert read_onnx(model("onnx", portable=True)).domains == {""}


@settings(deadline=None, max_examples=examples(1000))
@given(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=6))
def test_flipped_bytes(at: int, change: bytes) -> None:
    assert isinstance(read(SAMPLE[:at] + change + SAMPLE[at + len(change) :]), OnnxFile | None)


@settings(deadline=None, max_examples=examples(300))
@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    assert read(data) is None


@settings(deadline=None, max_examples=examples(300))
@given(st.integers(0, len(SAMPLE) - 1))
def test_truncated(size: int) -> None:
    file = read(SAMPLE[:size])
    assert file is None or "edgelm.spec" not in file.metadata or size > len(SAMPLE) - 40
