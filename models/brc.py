"""BRC: concatenation - BatchNorm - ReLU - convolution, the unit that densely connected U-Nets are made of.

Trained the plain way, each unit keeps its concatenated, its normalised and its rectified input until the backward pass.
With `recompute` it keeps only the parts, which others hold anyway, and makes the rest anew when it is needed
(Pleiss et al., "Memory-Efficient Implementation of DenseNets"; Tang et al., "Towards Efficient U-Nets: A Coupled and
Quantized Approach", memory-efficient implementation). Outputs, gradients and statistics are the same.

N = batch, C_i = channels of part i, O = output channels, H, W = size of the map.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from edgelm.models.quant_conv import Role, conv_for, is_quantized
from edgelm.models.quantizers import QuantScheme

__all__ = ["Brc", "set_recompute"]


class Brc(nn.Module):
    """See the module's text; a layer that binarizes its input gets no ReLU.

    Args:
        role: of the convolution in the network.
        in_channels: sum of C_i.
        out_channels: O.
        kernel_size: kernel side in px; only units of 1 px recompute, as in the paper.
        scheme: quantization.
    """

    def __init__(self, role: Role, in_channels: int, out_channels: int, kernel_size: int, scheme: QuantScheme) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = conv_for(role, in_channels, out_channels, kernel_size, scheme)
        self.relu = not (is_quantized(role, scheme) and scheme.act_bits == 1)
        self.can_recompute = kernel_size == 1
        self.recompute = False

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """(N, C_i, H, W) each -> (N, O, H, W)."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return self._compute(*parts)
        y: Tensor = checkpoint(
            self._compute, *parts, use_reentrant=False, preserve_rng_state=False, context_fn=self._contexts
        )
        return y

    def _compute(self, *parts: Tensor) -> Tensor:
        x = self.norm(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
        y: Tensor = self.conv(F.relu(x) if self.relu else x)
        return y

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _Untracked(self.norm)


class _Untracked(AbstractContextManager[None]):
    """A BatchNorm normalises by its batch and leaves its statistics alone: the first computation has updated them.

    A momentum of 0 and not `track_running_stats`, without which it would keep other tensors for its gradient.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        assert norm.num_batches_tracked is not None
        self._norm, self._momentum, self._count = norm, norm.momentum, norm.num_batches_tracked

    def __enter__(self) -> None:
        self._before = self._count.clone()
        self._norm.momentum = 0.0

    def __exit__(self, *_: object) -> None:
        self._norm.momentum = self._momentum
        self._count.copy_(self._before)


def set_recompute(model: nn.Module, recompute: bool) -> int:
    """Turn recomputing on or off in every unit that can; returns how many those are. Not part of a checkpoint."""
    units = [m for m in model.modules() if isinstance(m, Brc) and m.can_recompute]
    for unit in units:
        unit.recompute = recompute
    return len(units)
