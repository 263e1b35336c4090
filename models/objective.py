"""What a training step minimizes: the recipe's loss of every supervised net, a teacher's part, the coherent loss.

N = batch, K = landmarks, H, W = the input's size, h, w = a heatmap's.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgelm.decode import to_map
from edgelm.models.coherence import coherent_loss, with_mirrored, with_mirrored_maps
from edgelm.models.losses import gaussian_maps, get_loss, terms
from edgelm.models.recipes import Recipe
from edgelm.models.start import Teacher, soft_target
from edgelm.models.team import Team
from edgelm.schemes import flip_permutation
from edgelm.spec import ModelSpec

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """The loss of one batch.

    Attributes:
        recipe: loss, targets, weight of the coherent loss.
        spec: of the network.
        teacher: whose maps are a second target, None for none.
        distill: weight of that target, of 1 for both.
        bfloat16: whether the network computes in mixed precision.
        device: where it lies.
        team: the processes that share a batch; the average of their losses is the loss of the whole batch.
    """

    recipe: Recipe
    spec: ModelSpec
    teacher: Teacher | None = None
    distill: float = 0.5
    bfloat16: bool = False
    device: str | torch.device = "cpu"
    team: Team = field(default_factory=Team)

    def __call__(
        self, model: nn.Module, x: NDArray[np.float32], xy: NDArray[np.float32], *, counts: bool = True
    ) -> Tensor:
        """The loss, a scalar that depends on the model's parameters.

        Args:
            model: returns a list of maps (N, K, h, w).
            x: (N, 3, H, W) float32.
            xy: (N, K, 2) float32, crop px; NaN where a landmark is not annotated, which then teaches nothing.
            counts: whether these samples are part of the batch; if not, the loss is 0 and so are its gradients.
        """
        recipe, permutation = self.recipe, flip_permutation(self.spec.scheme)
        uv = torch.from_numpy(to_map(xy, self.spec).astype(np.float32)).to(self.device)
        size = self.spec.heatmap_height, self.spec.heatmap_width
        target = gaussian_maps(uv, *size, recipe.sigma, recipe.window)
        image = torch.from_numpy(x).to(self.device)
        known = torch.from_numpy(np.isfinite(xy).all(axis=-1)).to(self.device)[..., None, None]
        if recipe.coherence:
            image, target = with_mirrored(image), with_mirrored_maps(target, permutation)
            known = with_mirrored_maps(known, permutation)
        image = image.to(memory_format=torch.channels_last)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bfloat16):
            outputs: list[Tensor] = model(image)
        outputs = [output.float() for output in outputs]
        if not known.all():
            outputs = [torch.where(known, output, target) for output in outputs]
        loss = self._against(target, outputs, counts)
        if self.teacher is not None:
            soft = soft_target(recipe.loss, self.teacher(image))
            if not known.all():
                soft = torch.where(known, soft, target)
            loss = (1 - self.distill) * loss + self.distill * self._against(soft, outputs, counts)
        if recipe.coherence:
            apart = [coherent_loss(output, permutation) for output in outputs]
            loss = loss + recipe.coherence * self.team.weight(len(x) * counts) * torch.stack(apart).sum()
        return loss

    def _against(self, target: Tensor, outputs: list[Tensor], counts: bool) -> Tensor:
        """The loss of all outputs against one target (N, K, h, w), weighed as this process's part of the batch."""
        loss_of = get_loss(self.recipe.loss)
        loss = torch.stack([loss_of(output, target) for output in outputs]).sum()
        if self.team.size == 1:
            return loss
        return loss * self.team.weight(terms(self.recipe.loss, target) * counts)
