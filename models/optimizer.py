"""The optimizer and the schedule of a recipe."""

import numpy as np
import torch
from torch import nn

from edgelm.models.quant_conv import QuantConv2d
from edgelm.models.recipes import Recipe

__all__ = ["make_optimizer"]


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
