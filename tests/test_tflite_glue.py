"""QuantConv2d inside TFLite equals the reference, and what cannot run is refused in words."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pace import examples
from qconv_cases import OPERANDS, Case, cases, make_case

from edgelm.export.ops import QUANT_CONV
from edgelm.export.tflite_file import Model, Operator, Tensor, constant, write_model
from edgelm.runtimes.native import library_path
from edgelm.runtimes.tflite import tflite_version
from edgelm.runtimes.tflite_file import verify_tflite

if (package := tflite_version()) is None:
    pytest.skip("no TFLite engine is installed", allow_module_level=True)
engine: Any = import_module(package.split()[0].replace("-", "_") + ".interpreter")


def nhwc(values: Any) -> Any:
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def qconv_model(case: Case, *, constants: bool = True, options: bytes | None = None, output: str = "float32") -> bytes:
    """A graph of one QuantConv2d with inputs x0, x1, ... (and residual, weight where not constant) and the output y."""
    operands = case.constants()
    inputs = {f"x{i}": nhwc(value).shape for i, value in enumerate(case.x)}
    names = [name if name in operands else "" for name in ("weight", *OPERANDS)]
    names += ["" if case.residual is None else "residual", *inputs]
    if case.residual is not None:
        inputs["residual"] = nhwc(case.residual).shape
    tensors = [Tensor(name, shape) for name, shape in inputs.items()]
    if not constants:
        tensors.append(Tensor("weight", operands.pop("weight").shape, "uint8"))
        inputs["weight"] = case.weight.shape
    tensors += [constant(name, value) for name, value in operands.items()]
    N, O, OH, OW = case.output_shape()
    tensors.append(Tensor("y", (N, OH, OW, O), output))
    given = QUANT_CONV.options(case.attributes) if options is None else options
    node = Operator("edgelm.QuantConv2d", tuple(names), ("y",), custom_options=given)
    return write_model(Model(tensors, [node], tuple(inputs), ("y",)))


def interpreter(model: bytes, threads: int | None = None, delegate: Any = None) -> Any:
    delegate = delegate or engine.load_delegate(str(library_path()))
    made = engine.Interpreter(model_content=model, num_threads=threads, experimental_delegates=[delegate])
    made.allocate_tensors()
    return made


def run(opened: Any, case: Case) -> Any:
    """The answer, NCHW; inputs of another size than the interpreter's make it resize."""
    values = {f"x{i}": value for i, value in enumerate(case.x)}
    if case.residual is not None:
        values["residual"] = case.residual
    details = {detail["name"]: detail for detail in opened.get_input_details()}
    if any(tuple(details[name]["shape"]) != nhwc(value).shape for name, value in values.items()):
        for name, value in values.items():
            opened.resize_tensor_input(details[name]["index"], nhwc(value).shape)
        opened.allocate_tensors()
    for name, value in values.items():
        opened.set_tensor(details[name]["index"], nhwc(value))
    opened.invoke()
    return opened.get_tensor(opened.get_output_details()[0]["index"]).transpose(0, 3, 1, 2)


@settings(deadline=None, max_examples=examples(150))
@given(cases())
def test_one_node(case: Case) -> None:
    model = qconv_model(case)
    verify_tflite(model)
    case.check(run(interpreter(model, case.threads), case))


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_resize(threads: int | None) -> None:
    opened = interpreter(qconv_model(make_case()), threads)
    for size in ({"batch": 3}, {"H": 9, "W": 4}, {"batch": 1, "H": 40, "W": 40}, {}):
        case = make_case(**size)  # type: ignore[arg-type]  # a mapping of mixed options
        fresh = Case(case.attributes, make_case().weight, case.x, make_case().operands, case.residual)
        fresh.check(run(opened, fresh))


def test_two_interpreters_share_a_delegate() -> None:
    delegate = engine.load_delegate(str(library_path()))
    case = make_case(H=30, W=30)
    opened = [interpreter(qconv_model(case), 2, delegate) for _ in range(2)]
    del delegate
    with ThreadPoolExecutor(2) as pool:
        for _ in range(50):
            for y in pool.map(lambda one: run(one, case), opened):
                case.check(y)


def test_many_interpreters() -> None:
    case = make_case()
    opened = [interpreter(qconv_model(case), 2) for _ in range(20)]
    del opened[::2]
    for one in opened:
        case.check(run(one, case))


def test_node_among_builtins() -> None:
    """A chain in which builtin operators lie between two of ours."""
    case = make_case(channels=(8,), out_channels=8, absent=("residual",), batch=1)
    shape = nhwc(case.x[0]).shape
    tensors = [constant(name, value) for name, value in case.constants().items()]
    tensors += [Tensor(name, shape) for name in ("x", "a", "b", "c", "y")]
    options = QUANT_CONV.options(case.attributes)
    names = ("weight", *OPERANDS, "")
    nodes = [
        Operator("RELU", ("x",), ("a",)),
        Operator("edgelm.QuantConv2d", (*names, "a"), ("b",), custom_options=options),
        Operator("MUL", ("b", "b"), ("c",)),
        Operator("edgelm.QuantConv2d", (*names, "c"), ("y",), custom_options=options),
    ]
    opened = interpreter(write_model(Model(tensors, nodes, ("x",), ("y",))), 2)
    opened.set_tensor(opened.get_input_details()[0]["index"], nhwc(case.x[0]))
    opened.invoke()
    first = Case(case.attributes, case.weight, (np.maximum(case.x[0], 0),), case.operands).reference()
    want = Case(case.attributes, case.weight, (first * first,), case.operands).reference()
    y = opened.get_tensor(opened.get_output_details()[0]["index"])
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), want)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # since Python 3.12
def test_fork() -> None:
    """A child has the interpreter but not the pool's threads: it runs and frees it all the same."""
    case = make_case(H=30, W=30)
    opened = [interpreter(qconv_model(case), 2)]
    case.check(run(opened[0], case))

    def work() -> None:
        case.check(run(opened[0], case))
        opened.clear()

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(30)
    if (code := child.exitcode) is None:
        child.kill()
    assert code == 0
    case.check(run(opened[0], case))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "int64"])
def test_output_must_be_float(dtype: str) -> None:
    """The engine makes room for what the file says."""
    with pytest.raises(RuntimeError, match="edgelm: y must be float32; export the model again"):
        interpreter(qconv_model(make_case(), output=dtype))


def test_weights_must_be_constant() -> None:
    with pytest.raises(RuntimeError, match="edgelm: weight must be a constant; export the model again"):
        interpreter(qconv_model(make_case(), constants=False))


@pytest.mark.parametrize("size", [0, 60, 68])
def test_options_of_a_wrong_size(size: int) -> None:
    with pytest.raises(RuntimeError, match=f"edgelm: custom options have {size} bytes, expected 72 or 76"):
        interpreter(qconv_model(make_case(), options=bytes(size)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("version", 2, "version is 1..1, got 2"),
        ("act_bits", 15, "act_bits is 1..14 or 32, got 15"),
        ("in_channels", 9, "in_scale has 8 values, expected 9"),
        ("in_channels", -(2**31), "in_scale has 8 values"),
    ],
)
def test_attributes_are_checked(name: str, value: int, message: str) -> None:
    attributes = make_case().attributes | {name: value}
    options = np.array(list(attributes.values()), "<i4").tobytes()
    with pytest.raises(RuntimeError, match=f"edgelm: .*{message}"):
        interpreter(qconv_model(make_case(), options=options))


def test_channels_must_add_up() -> None:
    case = make_case()
    narrow = Case(case.attributes, case.weight, case.x[:1], case.operands, case.residual)
    with pytest.raises(RuntimeError, match="edgelm: QuantConv2d expects 8 input channels in all, got 5"):
        interpreter(qconv_model(narrow))


def test_delegate_has_no_options() -> None:
    with pytest.raises(ValueError, match="edgelm's delegate has no options, got speed"):
        engine.load_delegate(str(library_path()), {"speed": 11})
