"""CU-Net has exactly the paper's weights, wires its features as the paper says, and its names resolve."""

import dataclasses
from functools import cache
from itertools import pairwise

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")

import torch
from torch import nn

from edgelm.errors import UsageError
from edgelm.models.create import create, default_spec, randomize
from edgelm.models.cunet import CUNet, CUNetConfig
from edgelm.models.outline import outline
from edgelm.models.quant_conv import QuantConv2d, freeze
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import Entry, Family, get_family, model_names, register_family, register_network, resolve

FLOAT = QuantScheme()


@cache
def conv_weights(config: CUNetConfig) -> int:
    with outline():
        model = CUNet(config, FLOAT)
    return sum(p.numel() for p in model.parameters() if p.dim() == 4)


# (config, weights of all convolutions as the paper's networks have them, millions as the paper prints them)
SIZES = [
    (CUNetConfig(2, 64, 16, 1, 16), 480_448, 0.5),
    (CUNetConfig(2, 128, 16, 1, 16), 1_080_704, 1.0),
    (CUNetConfig(2, 128, 24, 1, 16), 1_446_016, 1.4),
    (CUNetConfig(2, 128, 32, 1, 16), 1_898_880, 1.9),
    (CUNetConfig(2, 192, 24, 1, 16), 2_414_400, 2.4),
    (CUNetConfig(2, 192, 32, 1, 16), 2_940_480, 2.9),
    (CUNetConfig(4, classes=16), 3_901_824, 3.9),
    (CUNetConfig(8, classes=16), 7_907_712, 7.9),
    (CUNetConfig(16, classes=16), 15_919_488, 15.9),
    (CUNetConfig(2, classes=68), 1_912_192, None),
    (CUNetConfig(4, classes=68), 3_928_448, None),
    (CUNetConfig(8, classes=68), 7_960_960, None),
]
ORDERS_8 = [7_162_240, 7_907_712, 8_546_688, 9_079_168, 9_505_152, 9_824_640, 10_037_632, 10_144_128]
ORDERS_16 = {0: 14_322_048, 1: 15_919_488, 2: 17_410_432, 4: 20_072_832, 8: 24_119_680, 15: 27_101_568}


@pytest.mark.parametrize(("config", "weights", "millions"), SIZES)
def test_weight_count(config: CUNetConfig, weights: int, millions: float | None) -> None:
    assert conv_weights(config) == weights
    if millions is not None:
        # The paper prints 1.0 for (128, 16), which has 1.08.
        assert abs(weights / 1e6 - millions) <= (0.09 if millions == 1.0 else 0.06)


def test_weight_count_by_order() -> None:
    assert [conv_weights(CUNetConfig(8, order=k, classes=16)) for k in range(8)] == ORDERS_8
    assert {k: conv_weights(CUNetConfig(16, order=k, classes=16)) for k in ORDERS_16} == ORDERS_16


def closed_form(c: CUNetConfig) -> int:
    """The paper's architecture counted by hand, block by block."""
    m, n, total = c.width, c.growth, 147 * c.width
    for i in range(c.nets):
        k = min(i, c.order)
        total += 5 * ((m + n * k) * 4 * n + 36 * n * n) + 9 * m * (m + n * k + n)
        total += 4 * ((2 * m + n * k) * 4 * n + 36 * n * n) + 4 * m * (2 * m + n * k + n)
        total += m * m * (1 + k) if i else 0
    return total + m * c.classes * len(c.supervised)


@pytest.mark.parametrize("order", [0, 1, 2, 5])
@pytest.mark.parametrize("supervisions", [None, 1, 2])
def test_weight_count_closed_form(order: int, supervisions: int | None) -> None:
    config = CUNetConfig(5, 12, 3, order, 7, supervisions)
    assert conv_weights(config) == closed_form(config)


@pytest.mark.parametrize(
    ("nets", "supervisions", "expected"),
    [(4, None, (0, 1, 2, 3)), (8, 4, (1, 3, 5, 7)), (4, 1, (3,)), (5, 2, (2, 4)), (16, 4, (3, 7, 11, 15))],
)
def test_supervised_nets(nets: int, supervisions: int | None, expected: tuple[int, ...]) -> None:
    assert CUNetConfig(nets, supervisions=supervisions).supervised == expected


def tiny(scheme: QuantScheme = FLOAT, **changes: int) -> CUNet:
    torch.manual_seed(0)
    return CUNet(dataclasses.replace(CUNetConfig(3, 8, 4, 1, 5), **changes), scheme).eval()


def test_heatmaps_are_a_quarter_of_the_input() -> None:
    outputs = tiny()(torch.rand(2, 3, 128, 64))
    assert [tuple(o.shape) for o in outputs] == [(2, 5, 32, 16)] * 3


def test_heads_are_never_fed_forward() -> None:
    model, x = tiny(), torch.rand(1, 3, 64, 64)
    before = model(x)
    with torch.no_grad():
        for head in list(model.heads.values())[:-1]:
            conv = head.conv
            assert isinstance(conv, QuantConv2d | nn.Conv2d)
            conv.weight.mul_(-3)
    after = model(x)
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[-1], after[-1])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_features_reach_exactly_the_next_nets(order: int) -> None:
    """The n features of a block are read by the next K U-Nets, as the very same tensor."""
    model = tiny(nets=4, order=order)
    made: list[list[torch.Tensor]] = []
    read: list[list[list[torch.Tensor]]] = []

    def before(_: object, args: tuple[torch.Tensor, list[list[torch.Tensor]]]) -> None:
        read.append([list(queue) for queue in args[1]])

    def after(_: object, __: object, output: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
        made.append(output[1])

    for net in model.nets:
        net.register_forward_pre_hook(before)
        net.register_forward_hook(after)
    model(torch.rand(1, 3, 64, 64))
    for i, queues in enumerate(read):
        for place, queue in enumerate(queues):
            expected = [made[j][place] for j in range(max(0, i - order), i)]
            assert len(queue) == len(expected)
            assert all(a is b for a, b in zip(queue, expected, strict=True))
    assert made[0][0].shape[1] == 4


def test_every_parameter_gets_a_gradient() -> None:
    model = tiny(QuantScheme("bwa")).train()
    sum(o.square().sum() for o in model(torch.rand(2, 3, 64, 64))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def quantized_names(scheme: QuantScheme) -> set[str]:
    return {name for name, module in tiny(scheme).named_modules() if isinstance(module, QuantConv2d)}


def test_stem_and_last_head_stay_real() -> None:
    names = quantized_names(QuantScheme("bw"))
    assert "stem" not in names
    assert "heads.2.conv" not in names
    assert {"heads.0.conv", "heads.1.conv", "joins.0.conv", "nets.0.down.0.squeeze.conv"} <= names


def test_released_scope_quantizes_spatial_convolutions_and_intermediate_heads() -> None:
    names = quantized_names(QuantScheme("bw", scope="released_code"))
    assert all(name.endswith("grow.conv") or name in ("heads.0.conv", "heads.1.conv") for name in names)
    assert len(names) == 3 * 9 + 2


@pytest.mark.parametrize("size", [63, 96])
def test_wrong_input_size(size: int) -> None:
    with pytest.raises(UsageError, match="multiples of 64 px"):
        tiny()(torch.rand(1, 3, size, size))


@pytest.mark.parametrize("bad", [{"nets": 0}, {"width": -1}, {"order": 65}, {"supervisions": 9}, {"classes": 10**6}])
def test_wrong_config(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        CUNetConfig(**bad)


@pytest.mark.parametrize("name", ["cunet8-bw", "cunet4-bwa", "cunet2-tw-a8", "cunet2-bw-a8", "cunet2-xnor", "cunet16"])
def test_known_names(name: str) -> None:
    assert resolve(name).name == name


def test_name_parts() -> None:
    assert resolve("cunet2-xnor").scheme == QuantScheme("bwa", 1)
    assert resolve("cunet2-tw-a8").scheme == QuantScheme("tw", 8)
    assert resolve("cunet2-m64n16-bwa").config == CUNetConfig(2, 64, 16)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"did you mean cunet2.* cunet4, cunet8, .* -bw, -bwa, -tw") as error:
        resolve("cunet2-bq")
    assert all(name.split("-")[0] in str(error.value) for name in model_names())
    with pytest.raises(UsageError, match="cunet"):
        get_family("resnet")


def test_duplicates_are_refused() -> None:
    with pytest.raises(UsageError, match="already"):
        register_network("cunet2", get_family("cunet"), CUNetConfig())
    with pytest.raises(UsageError, match="already"):
        register_family(Family("cunet", CUNetConfig, CUNet, 4, 64, ""))
    assert len(set(model_names())) == len(model_names())


def test_create_is_seeded() -> None:
    one, two, other = (create("cunet2-m64n16-bw", size=64, seed=s)[1].state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["stem.weight"], other["stem.weight"])


def test_randomize_gives_fitting_statistics() -> None:
    entry = Entry("tiny", get_family("cunet"), CUNetConfig(2, 8, 4, 1, 5), QuantScheme("bw"))
    model = entry.family.build(entry.config, entry.scheme)
    randomize(model, 128, 3)
    heatmaps = freeze(model)(torch.rand(1, 3, 128, 128))[-1]
    assert 0.05 < float(heatmaps.detach().std()) < 50


@pytest.mark.parametrize(("landmarks", "scheme"), [(68, "300w68"), (98, "wflw98"), (5, "points5")])
def test_default_scheme(landmarks: int, scheme: str) -> None:
    spec = default_spec(resolve("cunet2").with_landmarks(landmarks), 256)
    assert spec.scheme.name == scheme
    assert len(spec.scheme.names) == landmarks
    assert (spec.heatmap_height, spec.heatmap_width) == (64, 64)


@pytest.mark.parametrize(("landmarks", "crop"), [(68, "hrnet_face"), (16, "mpii"), (14, "lsp"), (17, "hrnet_face")])
def test_default_crop(landmarks: int, crop: str) -> None:
    spec = default_spec(resolve("cunet2").with_landmarks(landmarks), 256)
    assert spec.crop.preset == crop
    assert spec.task == ("face" if landmarks == 68 else "pose")


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_default_spec_refuses_sizes(size: int) -> None:
    with pytest.raises(UsageError, match="steps of 64"):
        default_spec(resolve("cunet2"), size)


def test_depth_adds_up() -> None:
    counts = [conv_weights(CUNetConfig(n, 8, 4)) for n in (2, 3, 4)]
    assert len({b - a for a, b in pairwise(counts)}) == 1
