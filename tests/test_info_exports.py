"""What `edgelm info` tells of exported files and checkpoints of every form, held against the network."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="making a network needs torch")

from exports import probes
from typer.testing import CliRunner

from edgelm.cli.app import app
from edgelm.export.pipeline import export
from edgelm.file_info import read_info
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.checkpoint_info import read_checkpoint_info


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with probes(tmp_path_factory.mktemp("info")) as get:
        made = get("bw-a8").checkpoint
        it = load_checkpoint(made)
        save_checkpoint(made.with_name("packed.pt"), it.entry, it.model, it.spec, packed=True)
        yield made


@pytest.mark.parametrize("target", ["onnx", "tflite"])
@pytest.mark.parametrize("form", ["graph", "layers", "portable"])
def test_exported(checkpoint: Path, tmp_path: Path, target: str, form: str) -> None:
    options = {"portable": True} if form == "portable" else {"ops": form}
    path = export(checkpoint, target, tmp_path / f"a.{target}", verify=False, **options).path
    info = read_info(path)
    # Six quantized convolutions and the last head are left when the intermediate head is dead code; and the stem.
    assert len(info.layers) == 8
    assert sum(layer.weight_bits < 2 for layer in info.layers) == 6
    quantized = [layer for layer in info.layers if layer.weight_bits < 2]
    assert {layer.act_bits for layer in quantized} == ({0} if form == "portable" else {8})
    expected = {"graph": ("edgelm.QuantGraph",), "layers": ("edgelm.QuantConv2d",), "portable": ()}[form]
    assert info.custom_ops == expected
    known = read_checkpoint_info(checkpoint)
    dead = next(layer for layer in known.layers if layer.name == "convs.head")
    assert sum(layer.weights for layer in info.layers) == sum(layer.weights for layer in known.layers) - dead.weights


def test_checkpoints(checkpoint: Path) -> None:
    plain, packed = (read_checkpoint_info(path) for path in (checkpoint, checkpoint.with_name("packed.pt")))
    assert {layer.weight_bits for layer in plain.layers} == {32}
    assert {layer.weight_bits for layer in packed.layers} == {1, 32}
    assert [layer.weights for layer in plain.layers] == [layer.weights for layer in packed.layers]
    assert plain.constants_bytes == 4 * sum(layer.weights for layer in plain.layers)
    assert plain.facts["stored"] != packed.facts["stored"]
    shown = CliRunner().invoke(app, ["info", str(checkpoint)])
    assert shown.exit_code == 0
    assert "QuantConv2d" in shown.output
