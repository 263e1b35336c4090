"""How large a network is and how much it computes, counted as the papers do.

That is: weights of convolutions, without biases and BatchNorms, and one MAC for each multiplication with its addition,
in convolutions alone.

Nothing is computed: the network runs on torch's meta device, which knows shapes only.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgelm.bits import packed_row_bytes
from edgelm.models.quant_conv import QuantConv2d

__all__ = ["PackedSize", "conv_weights", "macs", "on_meta", "packed_size"]


@dataclass(frozen=True)
class PackedSize:
    """Bytes of a network as it is deployed.

    Attributes:
        bits: the weights of quantized layers, packed.
        scales: of their filters, float32.
        real: the weights and biases of all other layers, float32.
        norms: BatchNorms as a scale and a shift of each channel, float32.
    """

    bits: int
    scales: int
    real: int
    norms: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.bits + self.scales + self.real + self.norms


def on_meta(model: nn.Module) -> nn.Module:
    """A copy without memory for its weights, which runs as the model does and computes no values."""
    return copy.deepcopy(model).to("meta").eval()


def _weights_of(module: nn.Module) -> Tensor | None:
    """The weights of a convolution of any kind: torch's, a quantized one, another with a 4-D `weight`."""
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) and weight.dim() == 4 else None


def conv_weights(model: nn.Module) -> int:
    """Weights of all convolutions; those of a layer that runs several times count once."""
    return sum(weight.numel() for m in model.modules() if (weight := _weights_of(m)) is not None)


def macs(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-accumulates of all convolutions for one image; a layer that runs several times counts each time.

    Args:
        model: takes images (N, 3, H, W).
        size: (H, W) px.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal total
        weight = _weights_of(module)
        assert weight is not None
        # A transposed convolution multiplies every input pixel with its whole kernel, another one every output pixel.
        map_ = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        total += weight.numel() * map_.shape[2] * map_.shape[3]

    twin = on_meta(model)
    for module in twin.modules():
        if _weights_of(module) is not None:
            module.register_forward_hook(count)
    with torch.no_grad():
        twin(torch.zeros(1, 3, *size, device="meta"))
    return total


def packed_size(model: nn.Module) -> PackedSize:
    """What a deployed file must hold of a network; BatchNorms that a file folds into real weights take less."""
    bits = scales = real = norms = 0
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, QuantConv2d):
            O = module.weight.shape[0]
            bits += O * packed_row_bytes(module.weight[0].numel(), module.quantizer.bits)
            scales += 4 * O if module.quantizer.scaled else 0
        elif isinstance(module, nn.BatchNorm2d):
            norms += 8 * module.num_features
        else:
            real += 4 * sum(one.numel() for one in own)
    return PackedSize(bits, scales, real, norms)
