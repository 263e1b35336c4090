"""A layer as a network for other engines: all of them compute what our float32 kernel computes."""

from pathlib import Path

import numpy as np
import pytest

for module in ("torch", "onnx", "onnxruntime", "ai_edge_litert"):
    pytest.importorskip(module, reason="layers are written by the exporters and compared with ONNX Runtime")

from edgelm.bench.convert import int8_tflite
from edgelm.bench.layer_net import layer_files, layer_weight, real_layer
from edgelm.bench.rivals import RIVALS, UnavailableError, compare, open_rival, reference
from edgelm.bench.shapes import LayerShape
from edgelm.export.quant_graph import encode
from edgelm.runtimes.native import QuantGraph

TINY = LayerShape("a test", 3, 24, 16, 10, 12)
X = np.random.default_rng(0).random((1, TINY.C, TINY.H, TINY.W), dtype=np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return layer_files(TINY, layer_weight(TINY), tmp_path_factory.mktemp("layer"))


def test_our_float_kernel_is_the_layer(files: tuple[Path, Path]) -> None:
    expected = reference(files[0], X)
    assert (expected == 0).mean() == pytest.approx(0.5, abs=0.3)  # the ReLU
    with QuantGraph(*encode(real_layer(TINY, layer_weight(TINY)))) as graph:
        assert compare(graph([X])[0], expected, exact=True) == pytest.approx(1)
        with pytest.raises(UnavailableError, match="differs"):
            compare(graph([X * np.float32(1.01)])[0], expected, exact=True)


@pytest.mark.parametrize("name", RIVALS)
def test_rivals(files: tuple[Path, Path], name: str) -> None:
    try:
        rival = open_rival(name, *files, X, 1, reference(files[0], X))
    except UnavailableError as error:
        if not str(error).startswith("not installed"):
            raise
        pytest.skip(str(error))
    assert rival.correlation > 0.99


def test_int8_tflite_runs_on_xnnpack(files: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_quantizer", reason="makes the int8 file")
    from ai_edge_litert.interpreter import Interpreter

    int8_tflite(files[1], (1, TINY.H, TINY.W, TINY.C), tmp_path / "int8.tflite")
    interpreter = Interpreter(str(tmp_path / "int8.tflite"))
    interpreter.allocate_tensors()
    details = interpreter.get_input_details() + interpreter.get_output_details()
    assert {tensor["dtype"] for tensor in details} == {np.int8}
    assert [op["op_name"] for op in interpreter._get_ops_details()].count("DELEGATE") == 1
