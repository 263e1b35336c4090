"""Counts a network's convolution weights and multiply-additions without computing anything.

A convolution is a module with a 4-D parameter `weight` of its own: torch's convolutions, transposed or grouped, a
QuantConv2d, and what other families define. Biases, BatchNorms and linear layers are not counted. Networks may lie on
torch's meta device, where 64 million weights take no memory; on another device they stay where they are.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.outline import outline

__all__ = ["conv_weights", "macs"]


def _weight(module: nn.Module) -> Tensor | None:
    weight = module._parameters.get("weight")
    return weight if weight is not None and weight.dim() == 4 else None


def conv_weights(model: nn.Module) -> int:
    """Weights of all convolutions, each tensor once however many layers share it."""
    found = [w for w in map(_weight, model.modules()) if w is not None]
    return sum({id(w): w.numel() for w in found}.values())


def macs(model: nn.Module, size: int | tuple[int, int]) -> int:
    """Multiply-additions of all convolutions for one image: weights x output px, padding counted as if it were image.

    A transposed convolution needs each weight once per input px, and is counted by those.

    Args:
        model: takes (1, 3, H, W); its mode, device and statistics stay as they are.
        size: side of a square input, or (H, W), in px.

    Raises:
        UsageError: a side below 1 px, and whatever the network itself refuses.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise UsageError(f"counting takes an input with sides of at least 1 px, got {height}x{width}")
    total = 0

    def count(module: nn.Module, x: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal total
        weight = _weight(module)
        assert weight is not None
        counted = x[0] if isinstance(module, nn.ConvTranspose2d) else y
        total += weight.numel() * counted.shape[2] * counted.shape[3]

    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    hooks = [m.register_forward_hook(count) for m in model.modules() if _weight(m) is not None]
    try:
        with torch.no_grad(), _evaluating(model), outline():
            torch.func.functional_call(model, empty, (torch.empty(1, 3, height, width, device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
    return total


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, since a BatchNorm that trains refuses maps of one px; afterwards each module's own mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
