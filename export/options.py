"""The options of an export: which go together, and what is taken where nothing is said."""

from typing import get_args, get_type_hints

from edgelm.errors import UsageError
from edgelm.spec import ExportOptions, ModelSpec

__all__ = ["choices", "choose"]


def choices(name: str) -> tuple[str, ...]:
    """What an option may be."""
    return get_args(get_type_hints(ExportOptions)[name])


def choose(
    spec: ModelSpec,
    *,
    portable: bool,
    ops: str | None = None,
    real: str | None = None,
    activations: str | None = None,
    weights: str | None = None,
) -> ExportOptions:
    """The options for a network; None takes the default.

    Args:
        spec: of the network.
        portable: builtin operators only.
        ops: see `edgelm.spec.ExportOptions`; "graph" by default.
        real: likewise; "float" by default in graphs, else "engine".
        activations: likewise; "float" by default.
        weights: likewise; "float" by default.

    Raises:
        UsageError: an unknown choice, or one that the network or the other options leave no room for.
    """
    given = {"ops": ops, "real": real, "activations": activations, "weights": weights}
    for name, value in given.items():
        if value is not None and value not in choices(name):
            raise UsageError(f"--{name} is one of {', '.join(choices(name))}, got {value!r}")
    plain = ExportOptions(weights=weights or "float")  # type: ignore[arg-type]  # checked above
    wanted = {name: value for name, value in given.items() if value not in (None, getattr(plain, name))}
    if plain.weights != "float" and spec.weights != "float":
        raise UsageError(
            f"--weights {weights} is for float networks; this one was trained with {spec.weights} weights, which are "
            "packed as they are. Its other layers take --real int8"
        )
    if portable or spec.weights == "float":
        for name, value in wanted.items():
            why = "--portable writes builtin operators" if portable else "the network has no quantized weights"
            raise UsageError(f"{why}, for which there is no --{name} {value}")
        return plain
    if activations not in (None, "float") and spec.activation_bits != 32:
        raise UsageError(
            f"--activations {activations} is for networks with float activations; "
            f"this one was trained with {spec.activation_bits}-bit activations and is exported as it is"
        )
    ops = ops or "graph"
    real = real or ("float" if ops == "graph" else "engine")
    return ExportOptions(ops=ops, real=real, activations=activations or "float")  # type: ignore[arg-type]  # checked above
