"""The proof at export: does the written file compute what the torch network computes?

Two looks. Layer by layer, each quantized convolution gets the very input that torch gives it, so that rounding in
earlier layers cannot blur the comparison; whole levels must agree exactly. End to end, torch and the engine running the
file get the same images, and heatmaps and landmarks are compared.
N = images, K = landmarks, O = output channels, I = input channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelm.bits import pack_weights
from edgelm.decode import decidable, decode, to_crop
from edgelm.models.evaluate import network_runner
from edgelm.models.quant_conv import QuantConv2d
from edgelm.runtimes.native import QuantConv
from edgelm.spec import ModelSpec
from edgelm.testvector import synthetic_input

__all__ = ["EndToEnd", "LayerCheck", "Tolerance", "compare_end_to_end", "compare_layers", "tolerance_for"]

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_SYNTHETIC = 3


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from torch.

    Attributes:
        heatmap: largest |difference| as a share of the largest |heatmap value|.
        point_px: distance of a decidable landmark, crop px.
        points: share of the decidable landmarks that must be within it.
    """

    heatmap: float
    point_px: float
    points: float


def tolerance_for(spec: ModelSpec) -> Tolerance:
    """The tolerance for a network.

    Float activations: sums of up to some thousand float32 terms in another order, through tens of layers that are
    normalised to unit variance, stay within 1e-3; measured values are a hundred times smaller. Quantized activations:
    rounding decides on which level a value at a border lands, and from there on the difference is a whole level, so
    heatmaps may differ here and there; the layers themselves are held to equality in `compare_layers`.
    """
    if spec.activation_bits == 32:
        return Tolerance(heatmap=1e-3, point_px=0.05, points=1.0)
    return Tolerance(heatmap=0.25, point_px=0.05, points=0.9)


@dataclass(frozen=True)
class LayerCheck:
    """Result of the look at the layers.

    Attributes:
        layers: quantized convolutions looked at.
        exact: of those, how many agree bit for bit.
        worst: largest |difference| as a share of the layer's largest value.
        diverging: name of the first layer that is out of tolerance, or None.
    """

    layers: int
    exact: int
    worst: float
    diverging: str | None


@dataclass(frozen=True)
class EndToEnd:
    """Result of the look at the whole network.

    Attributes:
        images: N.
        heatmap_max: largest |difference| of a heatmap value.
        heatmap_range: largest |heatmap value| of torch.
        point_max_px: largest distance of a decidable landmark, crop px.
        point_mean_px: mean distance of the decidable landmarks, crop px.
        points: N * K.
        decidable: landmarks whose peak is no near tie; the others may move by rounding.
        near: decidable landmarks within the tolerance.
        passed: whether the tolerance holds.
    """

    images: int
    heatmap_max: float
    heatmap_range: float
    point_max_px: float
    point_mean_px: float
    points: int
    decidable: int
    near: int
    passed: bool


def compare_layers(model: nn.Module, spec: ModelSpec) -> LayerCheck:
    """Hold the native kernels and the packed weights against every frozen QuantConv2d, on torch's own inputs.

    Levels times whole weights sum exactly in float32 as in integers (the sums stay below 2^24), so torch is exact here
    and equality is asked for; float activations get a tolerance for the order of up to some thousand additions.
    """
    checks: list[tuple[str, bool, float]] = []
    names = {module: name for name, module in model.named_modules()}

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, QuantConv2d)
        found, expected = _native(module, inputs[0]), output.numpy()
        worst = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-30))
        checks.append((names[module], bool((found == expected).all()), worst))

    hooks = [m.register_forward_hook(look) for m in model.modules() if isinstance(m, QuantConv2d)]
    try:
        network_runner(model)(synthetic_input(1, spec.input.height, spec.input.width))
    finally:
        for hook in hooks:
            hook.remove()
    limit = 0.0 if spec.activation_bits < 32 else 1e-5
    diverging = next((name for name, exact, worst in checks if not exact and not worst <= limit), None)
    worst = max((worst for _, _, worst in checks), default=0.0)
    return LayerCheck(len(checks), sum(exact for _, exact, _ in checks), worst, diverging)


def _native(module: QuantConv2d, x: Tensor) -> NDArray[np.float32]:
    """The layer by the packed weights and the native kernels."""
    levels, scale = module.quantized()
    O, I, kh, kw = levels.shape  # noqa: E741 output and input channels
    bits, act_bits, padding = module.quantizer.bits, module.scheme.act_bits, module.padding
    sigma = 2.0 ** (1 - act_bits) if 1 < act_bits < 32 else 1.0
    packed = pack_weights(np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy()).astype(np.int8), bits)
    attributes = {
        "version": 1, "kernel_h": kh, "kernel_w": kw, "stride_h": module.stride, "stride_w": module.stride,
        "pad_top": padding, "pad_left": padding, "pad_bottom": padding, "pad_right": padding,
        "in_channels": I, "out_channels": O, "weight_bits": bits, "act_bits": act_bits,
        "sign_zero": module.scheme.sign_zero, "pre_relu": 0, "post_relu": 0,
    }  # fmt: skip
    with QuantConv(attributes, packed, out_scale=(scale.numpy() * np.float32(sigma)).astype(np.float32)) as op:
        return op([np.ascontiguousarray(x.numpy())])


def compare_end_to_end(
    model: nn.Module, run: Run, spec: ModelSpec, images: Sequence[NDArray[np.float32]] = ()
) -> EndToEnd:
    """Compare torch with the engine running the file.

    Args:
        model: the torch network.
        run: the file's session, (N, H, W, 3) float32 -> heatmaps (N, K, h, w) float32.
        spec: of both.
        images: inputs (H, W, 3) float32 to compare on beside a few synthetic ones.
    """
    tolerance = tolerance_for(spec)
    synthetic = [synthetic_input(seed, spec.input.height, spec.input.width)[0] for seed in range(1, 1 + _SYNTHETIC)]
    torch_run = network_runner(model)
    largest = reach = 0.0
    distances: list[NDArray[Any]] = []
    count = 0
    for image in (*images, *synthetic):
        expected, found = torch_run(image[None]), run(image[None])
        largest = max(largest, float(np.abs(found - expected).max()))
        reach = max(reach, float(np.abs(expected).max()))
        a, b = (to_crop(decode(maps, spec.decode, spec.score)[0], spec)[0] for maps in (expected, found))
        clear = decidable(expected, spec.decode, spec.score)[0]
        distances.append(np.linalg.norm(a - b, axis=-1)[clear])
        count += expected.shape[1]
    distance = np.concatenate(distances)
    near = int((distance <= tolerance.point_px).sum())
    # Written so that NaN fails.
    passed = largest <= tolerance.heatmap * reach and near >= tolerance.points * len(distance)
    return EndToEnd(
        images=len(images) + _SYNTHETIC,
        heatmap_max=largest,
        heatmap_range=reach,
        point_max_px=float(distance.max(initial=0.0)),
        point_mean_px=float(distance.mean()) if len(distance) else 0.0,
        points=count,
        decidable=len(distance),
        near=near,
        passed=bool(passed),
    )

