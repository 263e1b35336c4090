"""Fewer bits: the grids of the layers, the rewritten graph against the torch network it stands for, what is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")

import onnx_ir as ir
import torch
from exports import Made
from graphs import graph, normal, reference
from hypothesis import given
from hypothesis import strategies as st
from nets import SIZE
from qconv_cases import make_case
from torch import nn

from edgelm.export import pipeline
from edgelm.export.capture import simplify
from edgelm.export.lossy import Grid, fit, int8_weights, simulate
from edgelm.export.nodes import attributes_of, is_quant_conv, operand
from edgelm.export.passes.quantize_inputs import QuantizeInputs
from edgelm.export.verify import measure_loss, synthetic_images
from edgelm.models.evaluate import network_runner
from edgelm.spec import ExportOptions, InputSpec
from edgelm.testvector import synthetic_input

QUANTIZED = {f"convs.{name}" for name in ("squeeze", "grow", "down", "skip", "deep", "up")}


def fused(source: Made, options: ExportOptions) -> ir.Model:
    model = simplify(source.graph())
    pipeline._fuse(model, options)
    return model


def fitted(source: Made, options: ExportOptions) -> tuple[ir.Model, dict[str, Grid]]:
    model = fused(source, options)
    images = synthetic_images(source.spec)
    grids = fit(source.model, model, options, source.spec, images, lambda _: 0.0)
    QuantizeInputs(grids)(model)
    return model, grids


@given(bits=st.sampled_from([2, 8, 9, 14]), relu=st.booleans(), step=st.floats(1e-3, 1e3))
def test_grid(bits: int, relu: bool, step: float) -> None:
    grid = Grid(bits, relu, step)
    reach = grid.highest * step
    v = torch.tensor([-2 * reach, -step, 0, 0.4 * step, 0.6 * step, reach, 2 * reach], dtype=torch.float64)
    expected = [*([0, 0] if relu else [-reach, -step]), 0, 0, step, reach, reach]
    assert grid.apply(v).tolist() == pytest.approx(expected)


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(1e-6, 1e6))
def test_int8_weights(seed: int, size: float) -> None:
    w = np.random.default_rng(seed).standard_normal((4, 3, 2, 2)).astype(np.float32) * np.float32(size)
    w[1] = 0
    levels, scale = int8_weights(w)
    assert (np.abs(levels).reshape(4, -1).max(axis=1) == [127, 0, 127, 127]).all()
    error = np.abs(levels * scale[:, None, None, None] - w).reshape(4, -1).max(axis=1)
    assert (error <= 0.5001 * scale).all()


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        (ExportOptions("graph", "float", "int8"), QUANTIZED),
        (ExportOptions("layers", "engine", "int13"), QUANTIZED),
        (ExportOptions("graph", "int8", "float"), {"stem"}),
        (ExportOptions("graph", "int8", "int13"), QUANTIZED | {"stem"}),
    ],
)
@pytest.mark.parametrize("scheme", ["bwa", "tw"])
def test_graph_is_what_is_simulated(
    scheme: str, options: ExportOptions, layers: set[str], made: Callable[[str], Made]
) -> None:
    source = made(scheme)
    model, grids = fitted(source, options)
    assert grids.keys() == layers
    nodes = {node.name: node for node in model.graph if is_quant_conv(node)}
    for name, grid in grids.items():
        a = attributes_of(nodes[name])
        assert (a["act_bits"], bool(a["pre_relu"])) == (grid.act_bits, grid.relu)
        assert a["weight_bits"] == (8 if name == "stem" else {"bwa": 1, "tw": 2}[scheme])
    if "convs.last" in nodes:
        assert attributes_of(nodes["convs.last"])["weight_bits"] == 32
    x = synthetic_input(5, SIZE, SIZE)
    expected = network_runner(simulate(source.model, grids))(x)
    plain = network_runner(source.model)(x)
    (found,) = reference(model, x.transpose(0, 3, 1, 2))
    # A value between two levels may turn, which moves a few pixels; the grid itself moves nearly all.
    assert np.median(np.abs(found - expected)) < 0.1 * np.median(np.abs(plain - expected))
    assert np.abs(found - plain).max() < 0.2 * np.abs(plain).max()


def test_steps_reach_the_largest_activation(made: Callable[[str], Made]) -> None:
    source = made("bwa")
    _, grids = fitted(source, ExportOptions("graph", "float", "int13"))
    largest = 0.0

    def look(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal largest
        largest = max(largest, float(inputs[0].max()))

    hook = dict(source.model.named_modules())["convs.deep"].register_forward_pre_hook(look)
    for image in synthetic_images(source.spec):
        network_runner(source.model)(image[None])
    hook.remove()
    grid = grids["convs.deep"]
    assert (grid.act_bits, grid.relu) == (14, True)
    assert grid.step == pytest.approx(largest / 8191)


def test_the_cheaper_of_two_grids_is_taken(made: Callable[[str], Made]) -> None:
    source = made("bwa")
    options = ExportOptions("graph", "float", "int8")
    model, images = fused(source, options), synthetic_images(source.spec)
    seen: list[nn.Module] = []

    def later_is_cheaper(twin: nn.Module) -> float:
        seen.append(twin)
        return -len(seen)

    wide = fit(source.model, model, options, source.spec, images, lambda _: 0.0)
    clipped = fit(source.model, model, options, source.spec, images, later_is_cheaper)
    assert len(seen) == 2
    assert all(clipped[name].step <= wide[name].step for name in wide)
    assert any(clipped[name].step < wide[name].step for name in wide)


@pytest.mark.parametrize(
    ("image", "bits", "relu", "reach"),
    [
        (InputSpec(SIZE, SIZE), 9, True, 1.0),
        (InputSpec(SIZE, SIZE, mean=(0.5, 0.5, 0.25), std=(0.5, 0.5, 0.5)), 8, False, 1.5),
    ],
)
def test_the_range_of_photos_is_known(
    image: InputSpec, bits: int, relu: bool, reach: float, made: Callable[[str], Made]
) -> None:
    """8-bit pixels in [0, 1] are levels as they are, whatever the images for the other layers show."""
    source = made("bwa")
    options = ExportOptions("graph", "int8", "float")
    model = fused(source, options)
    grids = fit(source.model, model, options, replace(source.spec, input=image), [], lambda _: 0.0)
    (grid,) = grids.values()
    assert grids.keys() == {"stem"}
    assert (grid.act_bits, grid.relu) == (bits, relu)
    assert grid.step == pytest.approx(reach / (255 if relu else 127))


def test_layers_without_affine_and_scale_get_them() -> None:
    case = make_case(1, channels=(3,), absent=("in_scale", "in_bias", "out_scale", "out_bias", "residual"), act_bits=32)
    call = ", ".join(f"{name} = {value}" for name, value in case.attributes.items())
    model = graph(
        f'(float[N,3,6,7] x) => (float[N,5,6,7] y) {{ y = edgelm.QuantConv2d <{call}> (w, "", "", "", "", "", x) }}',
        w=case.weight,
    )
    x = np.round(normal(1, 3, 6, 7) * 8) / 8
    (before,) = reference(model, x)
    (node,) = model.graph
    node.name = "layer"
    assert not QuantizeInputs({"other": Grid(8, False, 0.125)})(model).modified
    assert QuantizeInputs({"layer": Grid(8, False, 0.125)})(model).modified
    np.testing.assert_allclose(reference(model, x)[0], before, rtol=0, atol=1e-5)
    assert operand(node, "out_bias") is None


def test_loss_is_measured(made: Callable[[str], Made]) -> None:
    source = made("bwa")
    run = network_runner(source.model)
    none = measure_loss(source.model, run, source.spec)
    assert (none.images, none.mean_px, none.all_mean_px, none.passed) == (3, 0, 0, True)
    assert 0 < none.points <= 15
    shifted = measure_loss(source.model, lambda x: np.roll(run(x), 1, axis=3), source.spec)
    # One heatmap pixel is four of the input; a landmark at the border comes back on the other side.
    assert shifted.mean_px >= 4
    assert shifted.max_px <= SIZE
    assert shifted.mean_share == pytest.approx(shifted.mean_px / SIZE)
    assert not shifted.passed
    assert not measure_loss(source.model, lambda x: run(x) * np.float32(np.nan), source.spec).passed
