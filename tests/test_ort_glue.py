"""QuantConv2d inside ONNX Runtime equals the reference, and what cannot run is refused in words."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pace import examples
from qconv_cases import Case, cases, make_case

from edgelm.runtimes.native import library_path

pytest.importorskip("onnx", reason="the models are made with the onnx package")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from onnx_cases import feeds, qconv_model


def options(threads: int = 1) -> Any:
    made = ort.SessionOptions()
    made.intra_op_num_threads = threads
    made.log_severity_level = 4
    made.register_custom_ops_library(str(library_path()))
    return made


def session(model: bytes, threads: int = 1) -> Any:
    return ort.InferenceSession(model, options(threads), providers=["CPUExecutionProvider"])


def run(opened: Any, case: Case) -> Any:
    return opened.run(None, feeds(case))[0]


@settings(deadline=None, max_examples=examples(150))
@given(cases())
def test_one_node(case: Case) -> None:
    case.check(run(session(qconv_model(case), case.threads), case))


def test_batch_is_dynamic() -> None:
    opened = session(qconv_model(make_case()))
    for batch in (3, 1, 2):  # the seed's weights do not depend on the batch
        case = make_case(batch=batch)
        case.check(run(opened, case))


def test_empty_batch() -> None:
    case = make_case(absent=("residual",))
    empty = {name: value[:0] for name, value in feeds(case).items()}
    assert session(qconv_model(case)).run(None, empty)[0].shape == (0, *case.reference().shape[1:])


def test_shapes_are_inferred() -> None:
    from onnx import TensorProto, helper, load_from_string

    if tuple(map(int, ort.__version__.split(".")[:2])) < (1, 24):
        pytest.skip("shape inference is left out below ONNX Runtime 1.24, which crashes on absent operands")
    model = load_from_string(qconv_model(make_case(stride_h=2)))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    assert session(model.SerializeToString()).get_outputs()[0].shape == ["N", 5, 3, 7]


def test_threads_share_a_session() -> None:
    many = [make_case(seed, H=20, W=20, batch=1) for seed in range(4)]
    same = [Case(c.attributes, many[0].weight, c.x, many[0].operands, c.residual) for c in many]
    opened = session(qconv_model(same[0]), threads=2)
    with ThreadPoolExecutor(4) as pool:
        for case, y in zip(same * 30, pool.map(lambda c: run(opened, c), same * 30), strict=True):
            case.check(y)


def test_many_sessions() -> None:
    shared = options()
    case = make_case()
    opened = [ort.InferenceSession(qconv_model(case), shared, providers=["CPUExecutionProvider"]) for _ in range(20)]
    del opened[::2]
    for one in opened:
        case.check(run(one, case))


def test_weights_must_be_constant() -> None:
    with pytest.raises(Exception, match="edgelm: weight must be a constant initializer; export the model"):
        session(qconv_model(make_case(), constants=False))


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"version": 2}, "version is 1..1, got 2"),
        ({"act_bits": 15}, "act_bits is 1..14 or 32, got 15"),
        ({"in_channels": 9}, "in_scale has 8 values, expected 9"),
        ({"out_channels": 1 << 33}, "an attribute is out of range"),
        ({"weight_bits": 2}, "packed weights of 5 filters"),
    ],
)
def test_attributes_are_checked(replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=f"edgelm: QuantConv2d: {message}"):
        session(qconv_model(make_case(), **replaced))


def test_missing_attribute() -> None:
    from onnx import load_from_string

    model = load_from_string(qconv_model(make_case()))
    kept = [a for a in model.graph.node[0].attribute if a.name != "kernel_h"]
    del model.graph.node[0].attribute[:]
    model.graph.node[0].attribute.extend(kept)
    with pytest.raises(Exception, match="kernel_h"):
        session(model.SerializeToString())


def test_image_smaller_than_the_kernel() -> None:
    from onnx import load_from_string

    case = make_case(pad_top=0, pad_bottom=0, absent=("residual",))
    model = load_from_string(qconv_model(case))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[2].dim_param = "H"
    opened = session(model.SerializeToString())
    small = {name: np.ascontiguousarray(value[:, :, :2]) for name, value in feeds(case).items()}
    with pytest.raises(Exception, match="edgelm: QuantGraph: an image, padded, is smaller than the kernel"):
        opened.run(None, small)
    with pytest.raises(Exception, match="edgelm: QuantGraph: inputs of one node differ in height or width"):
        opened.run(None, feeds(case) | {"x1": case.x[1][:, :, :4]})
