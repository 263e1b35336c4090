"""What a network weighs as it is deployed: an account, made without packing anything.

Weights of quantized layers are bits; all else is float32: the scales of their filters, other layers, and a BatchNorm as
one scale and one shift for each channel. A file holds its description and the names of its operators beside these, and
less where a BatchNorm folds into real weights.
"""

from dataclasses import dataclass

from torch import nn

from edgelm.bits import packed_row_bytes
from edgelm.models.quant_conv import QuantConv2d

__all__ = ["PackedSize", "packed_size"]


@dataclass(frozen=True)
class PackedSize:
    """Bytes of a network as it is deployed.

    Attributes:
        bits: the weights of quantized layers, packed.
        scales: of their filters.
        real: the weights and biases of all other layers.
        norms: BatchNorms.
    """

    bits: int
    scales: int
    real: int
    norms: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.bits + self.scales + self.real + self.norms


def packed_size(model: nn.Module) -> PackedSize:
    """The account of a network; tensors that several layers share count once."""
    bits = scales = real = norms = 0
    seen: set[int] = set()
    for module in model.modules():
        own = [one for one in module.parameters(recurse=False) if id(one) not in seen]
        seen.update(map(id, own))
        if isinstance(module, QuantConv2d):
            O = module.weight.shape[0] if own else 0
            bits += O * packed_row_bytes(module.weight[0].numel(), module.quantizer.bits)
            scales += 4 * O if module.quantizer.scaled else 0
        elif isinstance(module, nn.BatchNorm2d):
            norms += 8 * module.num_features
        else:
            real += 4 * sum(one.numel() for one in own)
    return PackedSize(bits, scales, real, norms)
