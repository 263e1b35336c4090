"""The landmark schemes of the field by name: which point is which, which swap in a mirror, what to draw.

One data file per scheme. "right" and "left" are always the person's own, so the right eye is left in a frontal photo.
"""

from edgelm.errors import UsageError
from edgelm.schemes.aflw19 import AFLW19
from edgelm.schemes.coco17 import COCO17
from edgelm.schemes.cofw29 import COFW29
from edgelm.schemes.lsp14 import LSP14
from edgelm.schemes.mpii16 import MPII16
from edgelm.schemes.w300_68 import W300_68
from edgelm.schemes.wflw98 import WFLW98
from edgelm.spec import LandmarkScheme

__all__ = ["flip_permutation", "get_scheme", "register_scheme", "scheme_names"]

_SCHEMES: dict[str, LandmarkScheme] = {}


def register_scheme(scheme: LandmarkScheme) -> LandmarkScheme:
    """Make a scheme known under its name.

    Raises:
        UsageError: the name is taken.
    """
    if scheme.name in _SCHEMES:
        raise UsageError(f"landmark scheme {scheme.name!r} exists already; choose another name")
    _SCHEMES[scheme.name] = scheme
    return scheme


def get_scheme(name: str) -> LandmarkScheme:
    """The scheme called `name`, for example "300w68".

    Raises:
        UsageError: no scheme has that name.
    """
    if name not in _SCHEMES:
        raise UsageError(f"unknown landmark scheme {name!r}; known are {', '.join(_SCHEMES)}")
    return _SCHEMES[name]


def scheme_names() -> tuple[str, ...]:
    """The names of all known schemes."""
    return tuple(_SCHEMES)


def flip_permutation(scheme: LandmarkScheme) -> tuple[int, ...]:
    """For each landmark of a mirrored image, the index it had before: K indices, their own inverse."""
    order = list(range(len(scheme.names)))
    for a, b in scheme.flip_pairs:
        order[a], order[b] = b, a
    return tuple(order)


for _scheme in (W300_68, WFLW98, COFW29, AFLW19, MPII16, LSP14, COCO17):
    register_scheme(_scheme)
