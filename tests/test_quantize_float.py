"""Float graphs quantized after training: the steps, the graph that says so, and engines that compute on its levels."""

from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")

import onnx_ir as ir
import torch
from graphs import SPEC, Array, by_onnx, by_tflite, graph, normal, ops, reference
from hypothesis import given
from hypothesis import strategies as st

from edgelm.errors import UsageError
from edgelm.export import levels as levels_module
from edgelm.export.interpret import Interpreted
from edgelm.export.layerwise import ENGINES
from edgelm.export.levels import compare_levels
from edgelm.export.nodes import constant_of
from edgelm.export.passes.clean import Clean
from edgelm.export.passes.halve_weights import HalveWeights
from edgelm.export.passes.quantize_float import QuantizeFloat, weight_steps
from edgelm.export.pipeline import _write
from edgelm.export.ranges import Range, observe
from edgelm.runtimes.tflite_file import verify_tflite

SIDE = SPEC.input.height
TEXT = """(float[N,3,64,64] image) => (float[N,5,32,32] heatmaps)
{ a = Conv <strides = [2, 2], pads = [3, 3, 3, 3]> (image, w0, b0) r = Relu (a)
  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r) c = Conv <pads = [1, 1, 1, 1]> (p, w1, b1)
  u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (c, , s)
  t = Add (u, r) v = Relu (t) k = Concat <axis = 1> (v, u)
  n = BatchNormalization (k, g, b, m, v0) e = Relu (n) f = Conv (e, w2) q = Conv (f, w3, b3)
  heatmaps = Relu (q) }"""
FIRST = np.array([[[1.0]], [[0.0]], [[-1.0]]])


def network(**changed: Array) -> ir.Model:
    """Every operator that computes on integers, one that does not in their middle, and a float head with its ReLU."""
    constants: dict[str, Array] = {
        "w0": normal(8, 3, 7, 7) / 9, "b0": normal(8, seed=1), "w1": normal(8, 8, 3, 3, seed=2) / 6,
        "b1": normal(8, seed=3), "s": np.array([1, 1, 2, 2], np.float32), "g": normal(16, seed=4),
        "b": normal(16, seed=5), "m": normal(16, seed=6), "v0": np.exp(normal(16, seed=7)),
        "w2": normal(6, 16, 1, 1, seed=8) / 4, "w3": normal(5, 6, 1, 1, seed=9), "b3": normal(5, seed=10),
    }  # fmt: skip
    return graph(TEXT, **(constants | changed))


def quantized(model: ir.Model, levels: int) -> ir.Model:
    Clean()(model)
    seen = observe(Interpreted(model), [normal(SIDE, SIDE, 3, seed=i) for i in range(2)])
    QuantizeFloat({name: every for name, (every, _) in seen.items()}, levels)(model)
    Clean()(model)
    return model


@given(low=st.floats(-1e4, 0), high=st.floats(0, 1e4))
def test_a_range_holds_zero_and_its_ends(low: float, high: float) -> None:
    chosen = Range(low, high)
    ends = (np.array([0, 255]) - chosen.zero) * chosen.step
    assert 0 <= chosen.zero <= 255
    assert ends[0] <= low + chosen.step
    assert ends[1] >= high - chosen.step


def test_observes_all_and_nearly_all() -> None:
    x = np.zeros((100, 100, 3), np.float32)
    x[0, 0], x[1, 0] = 50, -40  # one value of ten thousand in each channel: beyond the usual
    x[2:, :, :] = np.linspace(-1, 2, 98)[:, None, None]
    model = graph("(float[N,3,100,100] x) => (float[N,3,100,100] y) { y = Relu (x) }")
    seen = observe(Interpreted(model), [x, (x / 2).astype(np.float32)])
    assert seen["x"][0] == Range(-40.0, 50.0)
    assert seen["x"][1] == Range(-1.0, 2.0)
    assert seen["y"] == (Range(0.0, 50.0), Range(0.0, 2.0))


@pytest.mark.parametrize("levels", [64, 127])
def test_weight_steps(levels: int) -> None:
    weight = np.stack([FIRST * factor for factor in (3, 0, 1e-12, 0)])
    steps = weight_steps(weight, np.array([0.5, 0, 1.0, 2.0]), 0.1, levels)
    np.testing.assert_allclose(steps[0] * levels, 3, rtol=1e-6)
    assert steps[1] == 1
    assert (np.array([1.0, 2.0]) / (steps[2:].astype(np.float64) * 0.1) <= 2**30 * 1.0001).all()


def test_the_graph_says_what_is_quantized() -> None:
    model = quantized(network(), 64)
    pairs = [n.inputs[0].producer().op_type if n.inputs[0].producer() else "image"  # type: ignore[union-attr]
             for n in model.graph if n.op_type == "QuantizeLinear"]  # fmt: skip
    # Behind a ReLU where one follows; the head and its ReLU stay float.
    assert pairs == ["image", "Relu", "MaxPool", "Conv", "Resize", "Relu", "Concat", "Relu", "Conv"]
    weights = [n.inputs[1].producer() for n in model.graph if n.op_type == "Conv"]  # type: ignore[union-attr]
    assert [w.op_type if w else "float" for w in weights] == ["DequantizeLinear"] * 3 + ["float"]
    steps = {n.inputs[1] for n in model.graph if n.op_type == "QuantizeLinear"}
    assert len(steps) < len(pairs)  # what moves values only keeps their steps


def test_the_graph_computes_nearly_what_it_did() -> None:
    x = normal(1, 3, SIDE, SIDE, seed=5)
    before, (after,) = reference(network(), x)[0], reference(quantized(network(), 127), x)
    error = np.sqrt(np.mean((after - before) ** 2)) / np.sqrt(np.mean(before**2))
    assert 0 < error < 0.1  # 8 bits, six layers deep
    twin = Interpreted(quantized(network(), 127))(torch.tensor(x))[-1].numpy()
    np.testing.assert_allclose(twin, after, atol=0.02 * np.abs(after).max())  # some values turn to another level


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_engines_make_the_same_levels(target: str) -> None:
    pytest.importorskip("onnxruntime" if target == "onnx" else "ai_edge_litert")
    model = quantized(network(), 64 if target == "onnx" else 127)
    check, shares = compare_levels(model, lambda part: _write(part, SPEC, target, False), target, SPEC)
    assert sum(share == 0 for share in shares.values()) == check.exact
    assert check.diverging is None
    assert check.layers == 9
    assert check.exact >= 4
    assert check.worst < 0.05
    x = normal(2, 3, SIDE, SIDE, seed=3)
    expected = Interpreted(model)(torch.tensor(x))[-1].numpy()
    found = (by_onnx if target == "onnx" else by_tflite)(model, x[:1])[0]
    np.testing.assert_allclose(found, expected[:1], atol=0.06 * np.abs(expected).max())


def test_turns_as_many_values_as_it_is_told() -> None:
    model = quantized(network(), 127)
    name = next(n.outputs[0].name or "" for n in model.graph if n.op_type == "QuantizeLinear")
    seen: list[np.ndarray] = []
    for turns, seed in ((None, 0), ({name: 0.2}, 0), ({name: 0.2}, 1), ({name: 0.2}, 1)):
        found = Interpreted(model, turns, seed)
        found(torch.tensor(normal(1, 3, SIDE, SIDE)), lambda n, v: seen.append(v.numpy()) if n == name else None)
    plain, first, second, again = seen
    for turned in (first, second):
        assert np.abs(turned - plain).max() == 1
        assert np.mean(turned != plain) == pytest.approx(0.2, abs=0.02)
    assert (first != second).any()
    assert (second == again).all()


@pytest.mark.parametrize("target", ["onnx", "tflite"])
def test_a_wrong_weight_is_found_and_named(target: str) -> None:
    pytest.importorskip("onnxruntime" if target == "onnx" else "ai_edge_litert")
    model = quantized(network(), 64)

    def spoiled(part: ir.Model) -> bytes:
        stored = next(v for v in part.graph.initializers.values() if v.shape == (8, 8, 3, 3))
        assert stored.const_value is not None
        wrong = stored.const_value.numpy().copy()
        wrong[3] = -wrong[3]
        stored.const_value = ir.tensor(wrong, name=stored.name)
        return _write(part, SPEC, target, False)

    check, _ = compare_levels(model, spoiled, target, SPEC)
    places = [n.outputs[0].name for n in model.graph if n.op_type == "QuantizeLinear"]
    assert check.diverging == places[3]


def test_the_largest_sums_do_not_saturate() -> None:
    """ONNX Runtime's kernels for AVX2 add pairs of u8 x s8 products in 16 bits: 64 is the most that fits."""
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).choice([-1.0, 1.0], (16, 64, 3, 3)).astype(np.float32)
    weight[0] = 1
    text = """(float[1,64,9,9] x) => (float[1,16,9,9] y)
    { a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Relu (a) y = Conv (b, i) }"""
    model = graph(text, w=weight, i=np.eye(16, dtype=np.float32).reshape(16, 16, 1, 1))
    Clean()(model)
    names = [model.graph.inputs[0].name, *(n.outputs[0].name for n in model.graph)]
    QuantizeFloat({name or "": Range(0.0, 1.0 if name == "x" else 600.0) for name in names}, 64)(model)
    x = np.ones((1, 64, 9, 9), np.float32)
    x[..., 4:, :] = np.random.default_rng(1).random((5, 9))
    off = np.abs(by_onnx(model, x)[0] - by_onnx(model, x, optimize=False)[0]) / (600 / 255)
    assert off.max() < 1.01  # at 127 it is 36 levels
    assert np.mean(off > 0.5) < 0.01


def test_half_the_bytes() -> None:
    model = network()
    HalveWeights()(model)
    Clean()(model)
    x = normal(1, 3, SIDE, SIDE, seed=5)
    expected = Interpreted(model)(torch.tensor(x))[-1].numpy()
    assert 0 < np.abs(expected - reference(network(), x)[0]).max() < 0.02 * np.abs(expected).max()
    for run in (by_onnx, by_tflite):
        np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    stored = [constant_of(n.inputs[0], "weights").dtype for n in model.graph if n.op_type == "Cast"]
    assert stored == [np.float16] * 4
    assert "Cast" in ops(model)
    file = verify_tflite(_write(model, SPEC, "tflite", False))
    assert [o.name for o in file.operators].count("DEQUANTIZE") == 4


def test_a_weight_beyond_half_precision_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1e\+05 does not fit float16"):
        HalveWeights()(network(w3=np.full((5, 6, 1, 1), 1e5, np.float32)))


def test_levels_are_counted_from_another_end_in_tflite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison feeds and reads levels of 0 to 255 on both engines."""
    pytest.importorskip("ai_edge_litert")
    given: list[Mapping[str, np.ndarray]] = []

    def keep(file: bytes, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        given.append(feeds)
        return ENGINES["tflite"](file, feeds)

    monkeypatch.setattr(levels_module, "ENGINES", {"tflite": keep})
    model = quantized(network(), 127)
    check, _ = compare_levels(model, lambda part: _write(part, SPEC, "tflite", False), "tflite", SPEC)
    assert check.diverging is None
    fed = [values for name, values in given[0].items() if name != "image"]
    assert {values.dtype for values in fed} == {np.dtype(np.uint8)}
    assert max(int(values.max()) for values in fed) > 200
