"""`edgelm info` tells what is in a file, with NumPy alone, and damaged files are sentences."""

import json
from pathlib import Path

import numpy as np
import pytest
from pace import examples
from typer.testing import CliRunner

from edgelm import zoo
from edgelm.cli.app import app
from edgelm.errors import ModelFileError
from edgelm.file_info import read_info
from edgelm.runtimes.onnx_graph import read_graph

FILES = [pytest.param(path, id=path.suffix[1:]) for path in zoo.bundled()]


@pytest.mark.parametrize("path", FILES)
def test_bundled_files(path: Path) -> None:
    info = read_info(path)
    assert (info.format, info.bytes) == (path.suffix[1:], path.stat().st_size)
    assert info.custom_ops == ("edgelm.QuantGraph",)
    assert info.operators == {"edgelm.QuantGraph": 1}
    kinds = [(layer.kernel, layer.weight_bits) for layer in info.layers]
    # CU-Net-2 (models.md 2.1): 66 convolutions, less the head that is not the last; stem and last head are real.
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        ("7x7", 32): 1, ("1x1", 1): 45, ("3x3", 1): 18, ("1x1", 32): 1,
    }  # fmt: skip
    packed = [layer for layer in info.layers if layer.weight_bits == 1]
    assert sum(layer.weights for layer in packed) == (1_212_416 + 663_552) // 4  # half as many channels
    assert sum(layer.bytes for layer in packed) * 8 == sum(layer.weights for layer in packed)
    assert all(layer.act_bits == 32 for layer in info.layers)


@pytest.mark.parametrize("path", FILES)
def test_command(path: Path) -> None:
    shown = CliRunner().invoke(app, ["info", str(path), "--layers"])
    assert shown.exit_code == 0, shown.output
    assert "300w68" in shown.output
    assert shown.output.count("edgelm.QuantGraph") >= 65
    told = json.loads(CliRunner().invoke(app, ["info", str(path), "--json"]).output)
    assert told["spec"]["name"] == "cunet2-m64n16-bwa"
    assert len(told["layers"]) == 65


@pytest.mark.parametrize("path", FILES)
def test_damaged_files_are_sentences(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(examples(60)):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 40):
            # Mostly ahead of the weights and behind them, where the structure is.
            broken[place % 4096 if place % 2 else -1 - place % 4096] = random.integers(256)
        damaged = tmp_path / f"damaged{path.suffix}"
        damaged.write_bytes(broken[: random.integers(1, len(data) + 1)] if random.random() < 0.5 else broken)
        try:
            read_info(damaged)
        except ModelFileError:
            refused += 1
    assert refused > 0


def test_other_files(tmp_path: Path) -> None:
    for name, content, message in [
        ("a.txt", b"x", "neither"),
        ("a.onnx", b"\x3a\x00", "damaged or not ONNX"),
        ("a.tflite", b"12345678", "not a TFLite file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match=message):
            read_info(tmp_path / name)
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "none.onnx")])
    assert shown.exit_code == 1
    assert "no model file" in shown.output


def test_a_hostile_shape_is_refused() -> None:
    # A graph with one constant of 2^40 x 2^40 floats: field 7 (graph), 5 (initializer), dims 1, type 2.
    side = b"\x08" + b"\x80\x80\x80\x80\x80\x20"
    tensor = side * 2 + b"\x10\x01"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    with pytest.raises(ModelFileError, match="impossible shape"):
        read_graph(b"\x3a" + bytes([len(graph)]) + graph)
