"""`edgelm.record` against dataclasses, of which it is a cheaper form: every class here is made in both ways."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelm.record import record


class PlainPoint:
    """Two numbers that have to be given, and others."""

    x: int
    y: float
    name: str = "p"
    tags: list[int] = dataclasses.field(default_factory=list)


class Partly:
    """Fields that are not shown, or not compared."""

    shown: int
    hidden: int = dataclasses.field(default=0, repr=False)
    extra: int = dataclasses.field(default=0, compare=False)


class Checked:
    """A class that looks at what it is given."""

    low: int
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"{self.low} is above {self.high}")


def both(plain: type[Any], **options: Any) -> tuple[type[Any], type[Any]]:
    """The class as a dataclass and as a record; classes of their own, of the same names."""
    space = {k: v for k, v in vars(plain).items() if k not in ("__dict__", "__weakref__")}
    one, two = (type(plain.__name__, (), dict(space)) for _ in range(2))
    for cls in (one, two):
        cls.__qualname__ = plain.__qualname__
    return dataclasses.dataclass(frozen=True, **options)(one), record(frozen=True, **options)(two)


SLOW, FAST = both(PlainPoint)


@record(frozen=True)
class Stored:
    """Where pickle finds it."""

    a: int
    b: tuple[int, ...] = ()


@given(st.lists(st.integers() | st.floats() | st.text(max_size=3), max_size=6), st.data())
def test_made_shown_and_compared_as_a_dataclass(values: list[Any], data: st.DataObject) -> None:
    names = ("x", "y", "name", "tags", "other")
    given_names = data.draw(st.dictionaries(st.sampled_from(names), st.integers(), max_size=3))

    def made(cls: Callable[..., Any]) -> Any:
        try:
            return cls(*values, **given_names)
        except TypeError:
            return None

    slow, fast = made(SLOW), made(FAST)
    assert (slow is None) == (fast is None)
    if slow is not None:
        assert repr(fast) == repr(slow)
        assert repr(dataclasses.asdict(fast)) == repr(dataclasses.asdict(slow))
        assert (fast == made(FAST)) == (slow == made(SLOW))
        assert fast != slow
        assert fast != dataclasses.replace(fast, x="another")


def test_defaults_are_made_for_each_instance() -> None:
    one, two = FAST(1, 2.0), FAST(1, 2.0)
    assert one == two
    assert one.tags is not two.tags
    assert [f.name for f in dataclasses.fields(FAST)] == [f.name for f in dataclasses.fields(SLOW)]
    assert FAST.__match_args__ == SLOW.__match_args__


def test_equal_ones_have_one_hash() -> None:
    slow, fast = both(Checked)
    assert hash(fast(1, 2)) == hash(fast(1, 2)) == hash(slow(1, 2))
    assert len({fast(1, 2), fast(1, 2), fast(1, 3)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(FAST(1, 2.0))


@given(*[st.integers(0, 2)] * 6)
def test_what_is_not_shown_or_compared(a: int, b: int, c: int, d: int, e: int, f: int) -> None:
    slow, fast = both(Partly)
    assert repr(fast(a, b, c)) == repr(slow(a, b, c))
    assert hash(fast(a, b, c)) == hash(slow(a, b, c))
    assert (fast(a, b, c) == fast(d, e, f)) == (slow(a, b, c) == slow(d, e, f))


def test_without_eq_an_instance_equals_itself_alone() -> None:
    slow, fast = both(Checked, eq=False)
    for cls in (slow, fast):
        one = cls(1)
        assert one == one
        assert one != cls(1)
        assert len({one, cls(1)}) == 2


@pytest.mark.parametrize("cls", both(Checked), ids=["dataclass", "record"])
def test_post_init_runs_and_nothing_changes_afterwards(cls: type[Any]) -> None:
    with pytest.raises(ValueError, match="10 is above 9"):
        cls(10)
    one = cls(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'low'"):
        one.low = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'low'"):
        del one.low
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.new = 2
    assert dataclasses.replace(one, high=4) == cls(1, 4)


def test_copied_and_pickled() -> None:
    one = Stored(3, (1, 2))
    assert copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((), {}, "PlainPoint lacks 'x'"),
        ((1,), {"x": 2}, "got \\['x'\\] twice"),
        ((1, 2), {"z": 2}, "has no 'z'"),
        ((1, 2, 3, 4, 5), {}, "has 4 fields, got 5 values"),
    ],
)
def test_wrong_arguments_are_named(values: tuple[Any, ...], named: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        FAST(*values, **named)


def test_what_the_shared_methods_would_not_heed_is_refused() -> None:
    with pytest.raises(TypeError, match="a record is frozen"):
        record(frozen=False)
    own = type("Own", (), {"__repr__": lambda self: "mine"})
    with pytest.raises(TypeError, match=r"Own defines \['__repr__'\]; make it a dataclass"):
        record(frozen=True)(own)
    odd = type("Odd", (), {"__annotations__": {"x": int}, "x": dataclasses.field(init=False)})
    with pytest.raises(TypeError, match=r"Odd has fields with options, \['x'\]"):
        record(frozen=True)(odd)
