"""The optimizer and the schedule of a recipe."""

import numpy as np
import torch
from torch import Tensor, nn

from edgelm.errors import UsageError
from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.recipes import Recipe

__all__ = ["make_optimizer", "quantize_gradients"]


def make_optimizer(
    model: nn.Module, recipe: Recipe, epochs: int, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Both, for a run of so many epochs of so many steps; master weights of quantized layers do not decay."""
    binary = {id(m.weight) for m in model.modules() if isinstance(m, QuantConv2d)}
    groups = [
        {
            "params": [p for p in model.parameters() if id(p) not in binary and p.dim() > 1],
            "weight_decay": recipe.decay,
        },
        {"params": [p for p in model.parameters() if id(p) in binary or p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "rmsprop":
        optimizer = torch.optim.RMSprop(groups, lr=recipe.rate)
    else:
        optimizer = torch.optim.AdamW(groups, lr=recipe.rate)
    total = epochs * steps

    def drops(step: int) -> float:
        return 0.1 ** sum(step >= share * total for share in (0.75, 0.9))

    def cosine(step: int) -> float:
        return float(min(1.0, (step + 1) / steps) * 0.5 * (1 + np.cos(np.pi * min(step / total, 1.0))))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, drops if recipe.schedule == "drops" else cosine)


def quantize_gradients(model: nn.Module, optimizer: torch.optim.Optimizer, bits: int) -> None:
    """Put the weight gradients of quantized layers, and their master weights, on a grid, as CU-Net's code does.

    With sigma = 2^(1 - bits): clip(round(g / sigma) sigma, -1 + sigma, 1 - sigma) before each of the optimizer's steps,
    and the same of the master weights after it; no stochastic rounding, no shift by the largest gradient, both of which
    WAGE (Wu et al., 2018) has.

    Raises:
        UsageError: bits outside of 2..15.
    """
    if not 2 <= bits <= 15:
        raise UsageError(f"gradients have 2..15 bits, got {bits}")
    weights = [m.weight for m in model.modules() if isinstance(m, QuantConv2d)]

    def before(*_: object) -> None:
        for weight in weights:
            if weight.grad is not None:
                weight.grad.copy_(_on_grid(weight.grad, bits))

    def after(*_: object) -> None:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(_on_grid(weight, bits))

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def _on_grid(values: Tensor, bits: int) -> Tensor:
    sigma = 2.0 ** (1 - bits)
    return (torch.round(values / sigma) * sigma).clamp(-1 + sigma, 1 - sigma)
