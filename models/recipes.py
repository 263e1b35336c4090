"""Training recipes by name: loss, optimizer, schedule and augmentation in one frozen record."""

from dataclasses import dataclass
from typing import Literal

from edgelm.errors import UsageError
from edgelm.models.augment import Augmentation
from edgelm.models.losses import get_loss

__all__ = ["RECIPES", "Recipe", "get_recipe"]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        name: as on the command line.
        source: where it comes from.
        loss: a name of `edgelm.models.losses`; it is summed over the supervised U-Nets.
        sigma: of the target Gaussians in heatmap px, 0 for one-hot targets.
        window: side of the square that a target covers in heatmap px, None for the whole map.
        optimizer: "rmsprop" or "adamw"; AdamW's decay applies to float layers only, binary master weights get none.
        rate: learning rate at the start (rmsprop) or at the top of the warm-up (adamw).
        schedule: "drops" divides the rate by 10 at 75 % and 90 % of the epochs; "cosine" warms up over the first epoch
            and falls to 0.
        decay: weight decay of float layers.
        epochs: unless told otherwise.
        augmentation: of the training samples.
        coherence: weight of the loss of `edgelm.models.coherence` in each supervised net; above 0 every batch is
            doubled by its mirror images.
    """

    name: str
    source: str
    loss: str
    sigma: float
    window: int | None
    optimizer: Literal["rmsprop", "adamw"]
    rate: float
    schedule: Literal["drops", "cosine"]
    decay: float
    epochs: int
    augmentation: Augmentation
    coherence: float = 0.0

    def __post_init__(self) -> None:
        get_loss(self.loss)


RECIPES = {
    r.name: r
    for r in (
        Recipe(
            name="cunet",
            source="CU-Net, section 5: RMSprop 2.5e-4 with drops, mean squared error on exp(-d^2 / 9) over 7 x 7 px",
            loss="mse",
            sigma=3 / 2**0.5,
            window=7,
            optimizer="rmsprop",
            rate=2.5e-4,
            schedule="drops",
            decay=0.0,
            epochs=200,
            augmentation=Augmentation((0.75, 1.25), 30.0, 0.0, True, 0.2),
        ),
        Recipe(
            name="bcll",
            source="BCLL: sigmoid cross-entropy, RMSprop; its rate, drops and epochs are those of the recipe cunet",
            loss="bce",
            sigma=1.0,
            window=7,
            optimizer="rmsprop",
            rate=2.5e-4,
            schedule="drops",
            decay=0.0,
            epochs=200,
            augmentation=Augmentation((0.75, 1.25), 30.0, 0.0, True, 0.2),
        ),
        Recipe(
            name="softmax",
            source="pixel-wise softmax cross-entropy (SDU) against soft targets; trains binary weights much sooner",
            loss="softmax",
            sigma=1.0,
            window=None,
            optimizer="adamw",
            rate=3e-3,
            schedule="cosine",
            decay=1e-4,
            epochs=120,
            augmentation=Augmentation((0.75, 1.25), 30.0, 0.06, True, 0.2),
        ),
        Recipe(
            name="sdu",
            source="SDU, section 3.3: pixel-wise softmax cross-entropy against one-hot targets and the coherent loss, "
            "weight 1e-3; optimizer and schedule are CU-Net's",
            loss="softmax",
            sigma=0.0,
            window=None,
            optimizer="rmsprop",
            rate=2.5e-4,
            schedule="drops",
            decay=0.0,
            epochs=200,
            augmentation=Augmentation((0.75, 1.25), 30.0, 0.06, True, 0.2),
            coherence=1e-3,
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """Look a recipe up; an unknown name raises UsageError with the known ones."""
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}; known are {', '.join(RECIPES)}")
    return RECIPES[name]
