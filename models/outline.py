"""Networks as outlines: shapes of tensors without numbers in them.

On torch's meta device a tensor takes no memory, but what fills or rectifies it takes milliseconds each, and the first
one loads torch's compiler, which takes seconds. An outline leaves those out: none of them changes a shape.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["outline"]

_LEFT_OUT = frozenset(
    [
        Tensor.normal_, Tensor.uniform_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_,
        F.batch_norm, torch.batch_norm, F.relu, torch.relu,
    ]
)  # fmt: skip


class _LeaveOut(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func in _LEFT_OUT:
            return args[0] if args else next(iter(given.values()))
        return func(*args, **given)


@contextmanager
def outline() -> Iterator[None]:
    """Build networks here, and call them, for their shapes alone: all tensors that are made lie on the meta device."""
    with torch.device("meta"), _LeaveOut():
        yield
