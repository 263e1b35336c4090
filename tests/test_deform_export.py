"""Deformable convolution: torch's definition, ONNX Runtime's, and the custom op's in LiteRT are one."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the exporter needs torch")
pytest.importorskip("onnx", reason="the exporter works on ONNX")

import torch
from graphs import SPEC, by_onnx, by_tflite, graph, normal
from test_deform import PLAIN, SPECIAL, Floats, check, geometry, operands

from edgelm.errors import UsageError
from edgelm.export.deform import DEFORM_CONV, deform_conv_reference
from edgelm.export.passes.adopt_deform import AdoptDeform
from edgelm.export.tflite import tflite_bytes
from edgelm.export.tflite_file import Model, Operator, Tensor, constant, write_model
from edgelm.models.deform_conv import deform_conv2d
from edgelm.runtimes.native import library_path
from edgelm.runtimes.tflite import tflite_version
from edgelm.runtimes.tflite_file import verify_tflite

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def by_torch(x: Floats, offset: Floats, weight: Floats, bias: Floats, padding: int) -> Floats:
    image, moves, filters = (torch.from_numpy(np.ascontiguousarray(a.transpose(NCHW))) for a in (x, offset, weight))
    found: Floats = deform_conv2d(image, moves, filters, torch.from_numpy(bias), padding).numpy()
    return found.transpose(NHWC)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("spread", [0.0, 0.5, 9.0])
def test_torch_is_the_definition(padding: int, spread: float) -> None:
    pads = {f"pad_{side}": padding for side in ("top", "left", "bottom", "right")}
    a = geometry(in_channels=5, out_channels=4) | pads
    x, offset, weight, bias = operands(a, 6, 9, N=2, spread=spread)
    check(by_torch(x, offset, weight, bias, padding), x, offset, weight, a, bias)


def test_torchs_gradients_are_those_of_differences() -> None:
    """In float64 and off the grid, where bilinear values have a slope."""
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*s, dtype=torch.float64) for s in ((1, 2, 3, 4), (2, 2, 3, 3), (2,)))
    offset = torch.rand(1, 18, 3, 4, dtype=torch.float64) * 0.9 + 0.05 - torch.randint(0, 3, (1, 18, 3, 4))
    given = [tensor.requires_grad_() for tensor in (x, offset, weight, bias)]
    assert torch.autograd.gradcheck(lambda x, o, w, b: deform_conv2d(x, o, w, b, 1), given, atol=1e-5)


def test_nan_offsets_have_no_gradient_elsewhere() -> None:
    x, weight, bias = torch.rand(1, 1, 3, 3, requires_grad=True), torch.ones(1, 1, 1, 1), torch.zeros(1)
    offset = torch.zeros(1, 2, 3, 3)
    offset[0, 0, 1, 1] = torch.nan
    offset[0, 1, 2, 2] = torch.inf
    y = deform_conv2d(x, offset, weight, bias, 0)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 0]


def canonical(N: int, C: int, O: int, H: int, W: int) -> Any:
    """A graph as it is captured, its constants, and its weights as the record has them."""
    weight, bias = normal(O, C, 3, 3, seed=1), normal(O, seed=2)
    text = f"""(float[{N},{C},{H},{W}] x, float[{N},18,{H},{W}] o) => (float[{N},{O},{H},{W}] y)
        {{ y = edgelm.canonical.DeformConv <padding = 1> (x, w, o, b) }}"""
    model = graph(text, w=weight, b=bias)
    AdoptDeform()(model)
    assert [(n.domain, n.op_type) for n in model.graph] == [("", "DeformConv")]
    assert model.opset_imports[""] == 19
    return model, weight.transpose(NHWC), bias


@pytest.mark.parametrize("engine", ["onnx", "tflite"])
@pytest.mark.parametrize(("C", "O", "H", "W"), [(3, 5, 7, 10), (1, 1, 1, 1), (64, 8, 16, 16)])
def test_engines_compute_the_definition(engine: str, C: int, O: int, H: int, W: int) -> None:
    pytest.importorskip("onnxruntime" if engine == "onnx" else "ai_edge_litert")
    model, weight, bias = canonical(1, C, O, H, W)
    a = geometry(in_channels=C, out_channels=O)
    x, offset, _, _ = operands(a, H, W)
    if engine == "onnx":  # what it makes of NaN and of places that no integer holds is its own business
        offset = np.where(np.isin(offset, SPECIAL) | np.isnan(offset), np.float32(0.5), offset)
    run = by_onnx if engine == "onnx" else by_tflite
    (found,) = run(model, *(np.ascontiguousarray(v.transpose(NCHW)) for v in (x, offset)))
    check(found.transpose(NHWC), x, offset, weight, a, bias)


def test_portable_tflite_has_no_such_operator() -> None:
    model, _, _ = canonical(1, 2, 3, 4, 5)
    with pytest.raises(UsageError, match=r"edgelm.DeformConv2d cannot be made of those; export without --portable"):
        tflite_bytes(model, SPEC, portable=True)


@pytest.mark.parametrize(
    ("options", "call", "match"),
    [
        ("group = 2, kernel_shape = [3, 3]", "x, w, o", "group=2"),
        ("offset_group = 2", "x, w, o", "offset_group=2"),
        ("kernel_shape = [3, 3]", "x, w, o, b, m", "mask"),
    ],
)
def test_other_forms_are_refused(options: str, call: str, match: str) -> None:
    text = f"""(float[1,4,7,7] x, float[1,18,5,5] o, float[1,9,5,5] m) => (float[1,2,5,5] y)
        {{ y = DeformConv <{options}> ({call}) }}"""
    with pytest.raises(UsageError, match=match):
        tflite_bytes(graph(text, w=normal(2, 4, 3, 3), b=normal(2)), SPEC, portable=False)


# ---- the delegate's node, against files that edgelm does not write ----


def node(a: dict[str, int], values: tuple[Floats, ...], **changes: Any) -> bytes:
    """A file of one DeformConv2d; `changes`: options, operands, computed (names that are inputs), output."""
    arrays = dict(zip(("x", "offset", "weight", "bias"), values, strict=True))
    computed = {"x", "offset", *changes.get("computed", ())}
    tensors = [Tensor(n, v.shape) if n in computed else constant(n, v) for n, v in arrays.items()]
    N, OH, OW, _ = values[1].shape
    tensors.append(Tensor("y", (N, OH, OW, a["out_channels"]), changes.get("output", "float32")))
    options = changes.get("options", np.array(list(a.values()), "<i4").tobytes())
    names = changes.get("operands", ("weight", "bias", "offset", "x"))
    inputs = tuple(n for n in arrays if n in computed)
    return write_model(Model(tensors, [Operator("edgelm.DeformConv2d", names, ("y",), {}, options)], inputs, ("y",)))


def opened(model: bytes, threads: int = 1) -> Any:
    if (package := tflite_version()) is None:
        pytest.skip("no TFLite engine is installed")
    engine = import_module(package.split()[0].replace("-", "_") + ".interpreter")
    delegate = engine.load_delegate(str(library_path()))
    made = engine.Interpreter(model_content=model, num_threads=threads, experimental_delegates=[delegate])
    made.allocate_tensors()
    return made


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interpreter_resizes(threads: int) -> None:
    """Another batch and another size than the file's, and every special offset."""
    a = geometry(in_channels=20, out_channels=3, stride_h=2)
    given = operands(a, 9, 7)
    engine = opened(node(a, given), threads)
    for N, H, W in ((1, 9, 7), (3, 30, 31), (2, 1, 1), (1, 9, 7)):
        x, offset, _, _ = operands(a, H, W, N, seed=H)
        for detail, value in zip(engine.get_input_details(), (x, offset), strict=True):
            engine.resize_tensor_input(detail["index"], value.shape)
        engine.allocate_tensors()
        for detail, value in zip(engine.get_input_details(), (x, offset), strict=True):
            engine.set_tensor(detail["index"], value)
        engine.invoke()
        check(engine.get_tensor(engine.get_output_details()[0]["index"]), x, offset, given[2], a, given[3])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"options": bytes(48)}, "custom options have 48 bytes, expected 52"),
        ({"options": bytes(52)}, r"version is 1\.\.1, got 0|bias has 3 values"),
        ({"computed": ("weight",)}, "weight must be a constant"),
        ({"operands": ("", "bias", "offset", "x")}, "weight is left out"),
        ({"operands": ("weight", "bias", "x")}, "has 3 inputs and 1 outputs"),
        ({"operands": ("weight", "weight", "offset", "x")}, "bias has 54 values, expected 3"),
        ({"operands": ("bias", "bias", "offset", "x")}, "3 filters of 18 weights are 54, got 3"),
        ({"operands": ("weight", "bias", "x", "x")}, "offset is 4x5 px with 2 channels, expected 4x5 with 18"),
        ({"operands": ("weight", "bias", "offset", "offset")}, "has 18 channels, expected 2"),
        ({"operands": ("weight", "bias", "offset", "bias")}, r"must be \(N, H, W, C\) float32"),
        ({"operands": ("weight", "bias", "offset", "")}, "an input is left out"),
        ({"output": "float16"}, "y must be float32"),
    ],
)
def test_hostile_nodes_are_refused(changes: dict[str, Any], match: str) -> None:
    a = geometry(in_channels=2, out_channels=3)
    with pytest.raises(RuntimeError, match=f"edgelm: .*({match})"):
        opened(node(a, operands(a, 4, 5), **changes))


def test_bias_may_be_left_out() -> None:
    a = geometry(in_channels=2, out_channels=3)
    x, offset, weight, _ = given = operands(a, 4, 5)
    model = node(a, given, operands=("weight", "", "offset", "x"))
    assert verify_tflite(model).custom_ops == {"edgelm.DeformConv2d"}
    engine = opened(model)
    for detail, value in zip(engine.get_input_details(), (x, offset), strict=True):
        engine.set_tensor(detail["index"], value)
    engine.invoke()
    check(engine.get_tensor(engine.get_output_details()[0]["index"]), x, offset, weight, a, None)


@pytest.mark.parametrize("wrong", ["x", "offset", "weight"])
def test_the_reference_refuses_shapes(wrong: str) -> None:
    a = geometry(in_channels=2, out_channels=3)
    x, offset, weight, bias = operands(a, 4, 5)
    arrays = {"x": x, "offset": offset, "weight": weight}
    arrays[wrong] = arrays[wrong][..., :-1]
    with pytest.raises(UsageError, match=r"DeformConv2d: (x|offset|weight) has the shape"):
        deform_conv_reference(arrays["x"], arrays["offset"], arrays["weight"], a, bias)
    with pytest.raises(UsageError, match="at most 2"):
        DEFORM_CONV.check(PLAIN | {"in_channels": 1 << 16, "kernel_h": 2})
