"""HRNet against the paper's and the published checkpoints' figures, and what `import_published` takes and refuses."""

import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="defining networks needs torch")

import torch
from nets import make
from torch import Tensor, nn
from tracing import tracing_once
from typer.testing import CliRunner

from edgelm.cli.app import app
from edgelm.errors import ModelFileError, UsageError
from edgelm.export.pipeline import export
from edgelm.models.checkpoint import load_checkpoint, save_checkpoint
from edgelm.models.count import macs
from edgelm.models.create import default_spec
from edgelm.models.hrnet import HRNet, HRNetConfig
from edgelm.models.outline import outline
from edgelm.models.published import import_published, read_state
from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.quantizers import QuantScheme
from edgelm.models.registry import HRNET, SCHEMES, Entry, resolve

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "hrnet_state_dicts.json"
# (width, head, classes): all parameters; the paper prints 28.5M and 63.6M.
PARAMETERS = {
    (32, "v1", 17): 28_536_113,
    (48, "v1", 17): 63_595_745,
    (32, "v1", 16): 28_536_080,
    (48, "v1", 16): 63_595_696,
    (18, "v2", 68): 9_654_398,
    (18, "v2", 98): 9_662_528,
    (18, "v2", 29): 9_643_829,
    (18, "v2", 19): 9_641_119,
}
# (width, head, classes, H, W): MACs in units of 2^30, which the paper calls GFLOPs.
GFLOPS = {
    (32, "v1", 17, 256, 192): 7.10,
    (48, "v1", 17, 256, 192): 14.6,
    (32, "v1", 17, 384, 288): 16.0,
    (48, "v1", 17, 384, 288): 32.9,
    (18, "v2", 68, 256, 256): 4.3,
}


def on_paper(config: HRNetConfig) -> HRNet:
    """The network without memory for its weights."""
    with outline():
        return HRNet(config, QuantScheme())


def small(head: Any, suffix: str = "") -> Entry:
    """A network with all four branches, and a block of each kind in each."""
    return Entry("small", HRNET, HRNetConfig(3, head, 5, (1, 1, 1), 1), SCHEMES[suffix])


@pytest.mark.parametrize("config", PARAMETERS)
def test_parameters_are_the_published_ones(config: tuple[int, Any, int]) -> None:
    assert sum(p.numel() for p in on_paper(HRNetConfig(*config)).parameters()) == PARAMETERS[config]


@pytest.mark.parametrize("case", GFLOPS)
def test_macs_are_the_papers(case: tuple[int, Any, int, int, int]) -> None:
    width, head, classes, H, W = case
    network = on_paper(HRNetConfig(width, head, classes))
    assert macs(network, (H, W)) / 2**30 == pytest.approx(GFLOPS[case], abs=0.051)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("pose_hrnet_w32_coco17_256x192", HRNetConfig(32, "v1", 17)),
        ("hrnetv2_w18_wflw", HRNetConfig(18, "v2", 98)),
    ],
)
def test_names_and_shapes_are_those_of_published_checkpoints(name: str, config: HRNetConfig) -> None:
    if not PUBLISHED.is_file():
        pytest.skip("the list of published names, shared/data/hrnet_state_dicts.json, is not here")
    expected = json.loads(PUBLISHED.read_text())[name]
    assert {n: list(t.shape) for n, t in on_paper(config).state_dict().items()} == expected


@pytest.mark.parametrize("head", ["v1", "v2"])
@pytest.mark.parametrize("suffix", ["", "-bw", "-bwa-a8", "-xnor"])
def test_every_parameter_learns(head: Any, suffix: str) -> None:
    torch.manual_seed(0)
    model = HRNet(HRNetConfig(4, head, 5), SCHEMES[suffix])
    (maps,) = model(torch.rand(2, 3, 64, 96))
    assert maps.shape == (2, 5, 16, 24)
    maps.square().mean().backward()
    # A bias before a BatchNorm is taken off again: its gradient is zero but for rounding.
    dead = [n for n, p in model.named_parameters() if p.grad is None or (n != "head.0.bias" and not p.grad.any())]
    assert dead == []


@pytest.mark.parametrize("head", ["v1", "v2"])
def test_quantizes_all_but_the_first_and_the_last_convolution(head: Any) -> None:
    with outline():
        model = HRNet(HRNetConfig(4, head, 5), SCHEMES["-bw"])
    real = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert real == ["conv1", "final_layer" if head == "v1" else "head.3"]
    kinds = collections.Counter(type(m) for m in model.modules() if isinstance(m, nn.Conv2d | QuantConv2d))
    assert kinds.total() == (293 if head == "v1" else 307)


@pytest.mark.parametrize("size", [100, (64, 100)])
def test_refuses_sizes(size: Any) -> None:
    with pytest.raises(UsageError, match="steps of 32"):
        default_spec(resolve("hrnet_w32"), size)
    with pytest.raises(UsageError, match="multiples of 32"):
        on_paper(HRNetConfig(3, "v2", 5))(torch.empty(1, 3, 100, 64, device="meta"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"width": 0}, "width is 1..256"),
        ({"classes": 0}, "classes is"),
        ({"head": "v3"}, "v1"),
        ({"modules": (1, 2)}, "three"),
        ({"blocks": 0}, "blocks"),
    ],
)
def test_refuses_hyper_parameters(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        HRNetConfig(**config)


def test_conventions_are_the_authors() -> None:
    pose, mpii, face = (
        default_spec(resolve(name).with_landmarks(k), size)
        for name, k, size in (("hrnet_w32", 17, (256, 192)), ("hrnet_w32", 16, 256), ("hrnetv2_w18", 98, 256))
    )
    assert (pose.crop.preset, pose.crop.aspect) == ("hrnet_pose", 0.75)
    assert (pose.decode, pose.flip_test) == ("index", "average_shift")
    assert (pose.heatmap_height, pose.heatmap_width) == (64, 48)
    assert (mpii.crop.preset, mpii.decode) == ("mpii", "index")
    assert (face.crop.preset, face.decode, face.flip_test) == ("hrnet_face", "center", "none")
    assert pose.input.mean == face.input.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(("head", "suffix"), [("v1", "-bwa-a8"), ("v2", "")])
def test_exports_and_agrees(tmp_path: Path, head: Any, suffix: str) -> None:
    entry = small(head, suffix)
    model, spec = make(entry)
    save_checkpoint(tmp_path / "a.pt", entry, model, spec)
    for target, engine in (("onnx", "onnxruntime"), ("tflite", "ai_edge_litert")):
        pytest.importorskip(engine)
        with tracing_once():  # export raises where torch and the file differ
            export(tmp_path / "a.pt", target, tmp_path / f"a.{target}")
        assert (tmp_path / f"a.{target}").is_file()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    """A network in the forms in which people publish it, and its tensors; small ones have the names of large ones."""
    entry = small("v2").with_landmarks(19)
    state = entry.family.build(entry.config, entry.scheme).state_dict()
    folder = tmp_path_factory.mktemp("published")
    torch.save(state, folder / "plain.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({f"module.{n}": t for n, t in state.items()}, folder / "parallel.pth")
    inside = {"epoch": 3, "best_state_dict": {f"module.{n}": t for n, t in state.items()}}
    torch.save(inside, folder / "training.pth")
    torch.save({n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}, folder / "uncounted.pth")
    known = {"hrnet_w32": small("v1"), "hrnetv2_w18": small("v2"), "hrnetv2_w18-bw": small("v2", "-bw")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgelm.models.published.resolve", known.__getitem__)
        yield folder, state


@pytest.mark.parametrize("name", ["plain", "old", "parallel", "training", "uncounted"])
def test_imports_every_published_form(published: tuple[Path, dict[str, Tensor]], tmp_path: Path, name: str) -> None:
    folder, state = published
    made = CliRunner().invoke(
        app, ["import", str(folder / f"{name}.pth"), "--arch", "hrnetv2_w18", "--scheme", "aflw19",
              "-o", str(tmp_path / "a.pt"), "--input", "64"],
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    read = load_checkpoint(tmp_path / "a.pt")
    assert read.spec.scheme.name == "aflw19"
    for n, t in read.model.state_dict().items():
        assert torch.equal(t, state[n]), n


def test_lists_what_does_not_fit(published: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    folder, state = published
    with pytest.raises(ModelFileError, match=r"2 of another shape: head.3.weight \(19, 45, 1, 1\) instead of \(98"):
        import_published(folder / "plain.pth", "hrnetv2_w18", "wflw98")
    with pytest.raises(ModelFileError, match=r"missing: final_layer.weight.*left over: stage4.*more"):
        import_published(folder / "plain.pth", "hrnet_w32", "aflw19", 256)
    torch.save(state | {"conv1.weight": state["conv1.weight"] * torch.nan}, tmp_path / "nan.pth")
    with pytest.raises(ModelFileError, match=r"no finite numbers, in conv1.weight"):
        import_published(tmp_path / "nan.pth", "hrnetv2_w18", "aflw19")
    with pytest.raises(UsageError, match="is quantized"):
        import_published(folder / "plain.pth", "hrnetv2_w18-bw", "aflw19")


class Hostile:
    """What a pickle could run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("was run",))


def test_refuses_files_that_are_no_state_dict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases: dict[str, tuple[Any, str]] = {
        "pickled": ({"state_dict": {"a": torch.ones(1)}, "x": Hostile()}, "does not unpickle"),
        "list": ([torch.ones(1)], "got a list"),
        "numbers": ({"a": 1}, "got a dictionary of a"),
        "empty": ({}, "of nothing"),
    }
    for name, (content, expected) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(ModelFileError, match=expected):
            read_state(tmp_path / name)
    (tmp_path / "cut").write_bytes((tmp_path / "empty").read_bytes()[:100])
    with pytest.raises(ModelFileError, match="damaged"):
        read_state(tmp_path / "cut")
    with pytest.raises(ModelFileError, match="not a file"):
        read_state(tmp_path / "nowhere")
    assert "was run" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["x", "64x64x64", "-64", "99999", "6.4"])
def test_refuses_input_sizes(tmp_path: Path, text: str) -> None:
    made = CliRunner().invoke(app, ["new", "hrnet_w32", "-o", str(tmp_path / "a.pt"), f"--input={text}"])
    assert made.exit_code == 2
    assert not (tmp_path / "a.pt").exists()
