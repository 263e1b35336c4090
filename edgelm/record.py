"""Frozen dataclasses that are cheap to define: `record` is `dataclass(frozen=True)`, for modules that a start imports.

dataclasses compiles six methods for each class, which is much of what a start's imports take; these classes share one
set of methods instead. `fields`, `replace` and `asdict` know them as dataclasses.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import MISSING, FrozenInstanceError, dataclass, fields

    def record(*, frozen: bool, eq: bool = True) -> Any:
        """A decorator for a class with annotated fields; without `eq` an instance equals itself alone."""
        if not frozen:
            raise TypeError("a record is frozen")

        def make(cls: type[Any]) -> type[Any]:
            methods = {"__init__": _init, "__repr__": _repr, "__setattr__": _setattr, "__delattr__": _delattr}
            if eq:
                methods |= {"__eq__": _eq, "__hash__": _hash}
            if own := methods.keys() & vars(cls).keys():
                raise TypeError(f"{cls.__name__} defines {sorted(own)}; make it a dataclass")
            for name, method in methods.items():
                setattr(cls, name, method)
            made = dataclass(init=False, repr=False, eq=False)(cls)
            if odd := [f.name for f in fields(made) if f.kw_only or not f.init or f.hash is not None]:
                raise TypeError(f"{cls.__name__} has fields with options, {odd}; make it a dataclass")
            return made

        return make

    def _init(self: Any, *values: Any, **named: Any) -> None:
        known = fields(self)
        if len(values) > len(known):
            raise TypeError(f"{type(self).__name__} has {len(known)} fields, got {len(values)} values")
        state = self.__dict__
        for field, value in zip(known, values, strict=False):
            state[field.name] = value
        if twice := state.keys() & named.keys():
            raise TypeError(f"{type(self).__name__} got {sorted(twice)} twice")
        for field in known[len(values) :]:
            if field.name in named:
                state[field.name] = named.pop(field.name)
            elif field.default is not MISSING:
                state[field.name] = field.default
            elif field.default_factory is not MISSING:
                state[field.name] = field.default_factory()
            else:
                raise TypeError(f"{type(self).__name__} lacks {field.name!r}")
        if named:
            raise TypeError(f"{type(self).__name__} has no {', '.join(map(repr, named))}")
        if (finish := getattr(self, "__post_init__", None)) is not None:
            finish()

    def _values(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self) if field.compare)

    def _repr(self: Any) -> str:
        inner = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{type(self).__qualname__}({inner})"

    def _eq(self: Any, other: object) -> Any:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def _hash(self: Any) -> int:
        return hash(_values(self))

    def _setattr(self: Any, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _delattr(self: Any, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
