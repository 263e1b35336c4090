"""QuantConv2d, the quantized layer, and the rule that says which layers are quantized.

A layer is trained with float master weights. Frozen, it holds its levels and scales alone: that is what a packed
checkpoint stores and what the exporter sees, so that the quantizers exist once, in torch.

O = output channels, I = input channels.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelm.errors import UsageError
from edgelm.models.quantizers import QuantScheme, get_weight_quantizer, quantize_activation

__all__ = ["CANONICAL_DOMAIN", "CANONICAL_OP", "QuantConv2d", "Role", "conv_for", "freeze", "is_quantized", "role_of"]

CANONICAL_DOMAIN = "edgelm.canonical"
CANONICAL_OP = "QuantConv2d"
"""The node a frozen layer becomes in the canonical graph: x, levels (O, I, kh, kw), scale (O,) and maybe bias (O,)."""

Role = Literal["stem", "pointwise", "spatial", "head", "last_head"]


class QuantConv2d(nn.Module):
    """Convolution: quantized activations, quantized weights, a scale and, where asked for, a bias per filter.

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: kernel side in px.
        scheme: what to quantize with; its weights are not "float".
        stride: in px.
        padding: px on every side, of zeros, also where activations are signs, or of the scheme's `pad_value`.
        bias: add a float (O,) that is trained too, at first 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        scheme: QuantScheme,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.scheme = scheme
        self.quantizer = get_weight_quantizer(scheme.weights)
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.frozen_scale: Tensor | None
        self.register_buffer("frozen_scale", None, persistent=False)
        self.frozen = False
        self.layer = ""  # its path in the network, set by `freeze`; names its node in exported files

    def quantized(self) -> tuple[Tensor, Tensor]:
        """Levels (O, I, kh, kw) in {-1, 0, +1} and scales (O,); differentiable in the master weights."""
        if self.frozen:
            assert self.frozen_scale is not None
            return self.weight, self.frozen_scale
        levels, scale = self.quantizer.quantize(self.weight)
        return levels, self.weight.new_ones(self.weight.shape[0]) if scale is None else scale

    def freeze(self, levels: Tensor, scale: Tensor) -> None:
        """Drop the master weights and keep levels and scales; the layer cannot be trained afterwards."""
        if levels.shape != self.weight.shape or scale.shape != (levels.shape[0],):
            raise UsageError(f"expected levels of shape {tuple(self.weight.shape)}, got {tuple(levels.shape)}")
        self.weight = nn.Parameter(levels.detach().clone(), requires_grad=False)
        self.frozen_scale = scale.detach().clone()
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) float -> (N, O, OH, OW) float."""
        if self.frozen and torch.onnx.is_in_onnx_export():
            return self._symbolic(x)
        if self.frozen and self.training:
            raise UsageError("a packed checkpoint holds no master weights and cannot be trained; take the float one")
        levels, scale = self.quantized()
        a, padding = quantize_activation(x, self.scheme), self.padding
        if self.scheme.pad_value and padding:
            a, padding = F.pad(a, [padding] * 4, value=float(self.scheme.pad_value)), 0
        y = F.conv2d(a, levels.to(x.dtype), stride=self.stride, padding=padding)
        y = y * scale.to(y.dtype)[:, None, None]
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def _symbolic(self, x: Tensor) -> Tensor:
        assert self.frozen_scale is not None
        O, _, kh, kw = self.weight.shape
        size = [(s + 2 * self.padding - k) // self.stride + 1 for s, k in zip(x.shape[2:], (kh, kw), strict=True)]
        made: Tensor = torch.onnx.ops.symbolic(
            f"{CANONICAL_DOMAIN}::{CANONICAL_OP}",
            (x, self.weight, self.frozen_scale, *(() if self.bias is None else (self.bias,))),
            attrs={
                "weight_bits": self.quantizer.bits,
                "act_bits": self.scheme.act_bits,
                "sign_zero": self.scheme.sign_zero,
                "pad_value": self.scheme.pad_value,
                "stride": self.stride,
                "padding": self.padding,
                "layer": self.layer,
            },
            dtype=x.dtype,
            shape=(x.shape[0], O, *size),
            version=1,
        )
        return made

    def extra_repr(self) -> str:
        """Shape and scheme, for printing a network."""
        O, I, kh, kw = self.weight.shape
        return f"{I}, {O}, {kh}x{kw}, {self.scheme.weights}, act_bits={self.scheme.act_bits}"


_QUANTIZED: Mapping[str, frozenset[Role]] = {
    "paper": frozenset({"pointwise", "spatial", "head"}),
    "released_code": frozenset({"spatial", "head"}),
    "spatial": frozenset({"spatial"}),
}
"""The roles that a scheme's scope quantizes."""


def role_of(kernel_size: int) -> Role:
    """The role of a convolution within a block."""
    return "spatial" if kernel_size > 1 else "pointwise"


def is_quantized(role: Role, scheme: QuantScheme) -> bool:
    """Whether a layer of this role is quantized: by its place in the network, never by module order."""
    return scheme.weights != "float" and role in _QUANTIZED[scheme.scope]


def conv_for(
    role: Role,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    scheme: QuantScheme,
    *,
    stride: int = 1,
    bias: bool = False,
) -> nn.Module:
    """The convolution ("same" padding; a bias only where asked for) that a layer of this role gets under the scheme."""
    padding = kernel_size // 2
    if is_quantized(role, scheme):
        return QuantConv2d(in_channels, out_channels, kernel_size, scheme, stride=stride, padding=padding, bias=bias)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=bias)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


def freeze(model: nn.Module) -> nn.Module:
    """Freeze every QuantConv2d of the model in place and return it in eval mode."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, QuantConv2d):
                module.layer = name
                if not module.frozen:
                    module.freeze(*module.quantized())
    return model.eval()
