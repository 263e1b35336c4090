"""How many examples a property is tried on: a share of them where every one takes long."""

import os

__all__ = ["EMULATED", "examples"]

EMULATED = bool(os.environ.get("EDGELM_TEST_EMULATED"))
_SHARE = 20
_LEAST = 2


def examples(count: int) -> int:
    """The number of examples for a property that is tried on `count` where the CPU is a real one."""
    return max(count // _SHARE, _LEAST) if EMULATED else count
