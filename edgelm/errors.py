"""The errors that edgelm raises on purpose: each says what was expected, what came, and what to do.

The command line turns `UsageError` into exit code 2 and every other `EdgelmError` into exit code 1.
"""

__all__ = [
    "EdgelmError",
    "EngineMissingError",
    "ModelFileError",
    "PackageMissingError",
    "UsageError",
    "VerificationError",
]


class EdgelmError(Exception):
    """Base of every error raised on purpose; its text is one readable sentence or two."""


class UsageError(EdgelmError, ValueError):
    """The caller asked for something that cannot be: a bad argument, an unknown name, an impossible option."""


class ModelFileError(EdgelmError, ValueError):
    """A model or checkpoint file is missing, truncated, foreign or damaged."""


class PackageMissingError(EdgelmError, ImportError):
    """A package that only some uses of edgelm need is not installed; the text says how to install it."""


class EngineMissingError(PackageMissingError):
    """The inference engine that a model file needs is not installed."""


class VerificationError(EdgelmError):
    """A written file does not compute what the network it was made from computes."""
