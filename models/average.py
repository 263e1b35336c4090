"""An exponential moving average of a network's weights and statistics (EMA), which is what is measured and kept.

After update n the average takes the share 1 - d of the new values, d = min(decay, (1 + n) / (10 + n)): the first
updates, which are far off, are soon forgotten.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from edgelm.errors import UsageError

__all__ = ["Average"]


class Average:
    """The average of a network's state.

    Args:
        model: whose state is averaged; whole numbers in it are copied.
        decay: d of the module's text, from 0 to less than 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"the decay of an average is at least 0 and below 1, got {decay}")
        self._model, self._decay, self._updates = model, decay, 0
        self._state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def update(self) -> None:
        """Take the network's present state in."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        with torch.no_grad():
            for name, tensor in self._model.state_dict().items():
                own = self._state[name]
                if own.is_floating_point():
                    own.lerp_(tensor, 1 - decay)
                else:
                    own.copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the network has the averaged state."""
        before = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        self._model.load_state_dict(self._state)
        try:
            yield
        finally:
            self._model.load_state_dict(before)

    def state(self) -> dict[str, Any]:
        """What a run needs to go on."""
        return {"updates": self._updates, "average": self._state}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; KeyError or ValueError where it is another network's."""
        found: Mapping[str, Tensor] = state["average"]
        if found.keys() != self._state.keys():
            raise ValueError("the average is of another network")
        for name, tensor in self._state.items():
            tensor.copy_(found[name])
        self._updates = int(state["updates"])
