"""Loading the native library where it is damaged, foreign or too new, and what is said where only slow kernels run."""

import ctypes
import platform
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgelm.errors import EdgelmError
from edgelm.runtimes.native import Kernel, chosen_kernels, elf, engine_library, library, library_path, slow_kernels

Broken = Callable[[bytes], Path]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broken]:
    """Make a file the library, to be loaded anew."""
    path = tmp_path / "libedgelm.so"

    def write(data: bytes) -> Path:
        path.write_bytes(data)
        monkeypatch.setenv("EDGELM_LIBRARY", str(path))
        library.load_library.cache_clear()
        return path

    yield write
    library.load_library.cache_clear()


def intact() -> bytes:
    data = Path(library_path()).read_bytes()
    if data[:4] != b"\x7fELF":
        pytest.skip("this system has no ELF files")
    return data


def complains(*words: str) -> None:
    with pytest.raises(EdgelmError) as caught:
        library.load_library()
    text = str(caught.value)
    assert "libedgelm.so" in text
    assert "\n" not in text
    for word in words:
        assert word in text


def test_the_real_one_passes(broken: Broken) -> None:
    broken(intact())
    assert library.library_version()


@pytest.mark.parametrize("size", [0, 3, 40])
def test_hardly_begun(broken: Broken, size: int) -> None:
    broken(intact()[:size])
    complains("damaged", "install edgelm again")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_cut_short(broken: Broken, share: float) -> None:
    data = intact()
    kept = int(len(data) * share)
    broken(data[:kept])
    complains("damaged", f"{kept} bytes", "install edgelm again")


def test_no_library_at_all(broken: Broken) -> None:
    broken(b"Not found. The page you asked for is not here.\n" * 9)
    complains("damaged", "no shared library")


@pytest.mark.parametrize(
    ("wide", "machine", "name"),
    [(2, 183, "64-bit ARM"), (1, 40, "32-bit ARM"), (2, 62, "64-bit x86"), (2, 9999, "9999")],
)
def test_another_machine(broken: Broken, wide: int, machine: int, name: str) -> None:
    data = bytearray(intact())
    if struct.unpack_from("<H", data, 18)[0] == machine:
        pytest.skip("that is this machine")
    data[4] = wide
    struct.pack_into("<H", data, 18, machine)
    broken(bytes(data))
    complains(f"is for {name}" if machine < 9999 else "9999", "this Python is for")


def test_nothing_is_checked_without_elf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "_THIS", tmp_path / "none")
    elf.check_elf(tmp_path / "no library either")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            "/lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /x/libedgelm.so)",
            ["needs glibc 2.38", "this system has", "wheel"],
        ),
        ("libedgelm.so: ELF load command address/offset not page-aligned", ["memory pages", "max-page-size"]),
        ("libedgelm.so: ELF load command alignment not page-aligned", ["memory pages"]),
        ("libedgelm.so: ELF load command address/offset not properly aligned", ["memory pages"]),
        (
            "libedgelm.so: undefined symbol: edgelm_kernels_peak",
            ["not the library of this edgelm", "edgelm_kernels_peak"],
        ),
        ("libedgelm.so: something new", ["something new", "install edgelm again"]),
    ],
)
def test_what_the_loader_means(broken: Broken, monkeypatch: pytest.MonkeyPatch, told: str, words: list[str]) -> None:
    broken(intact())

    def refuse(path: str) -> None:
        raise OSError(told)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    complains(*words)


def table(*lines: tuple[str, str, bool]) -> Callable[[], tuple[Kernel, ...]]:
    return lambda: tuple(Kernel(*line) for line in lines)


SCALAR = [("b1", "scalar", True), ("f32", "scalar", True)]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning has not been given yet, and EDGELM_ISA asks for nothing."""
    monkeypatch.delenv("EDGELM_ISA", raising=False)
    library._warn_once.cache_clear()


@pytest.mark.parametrize(
    ("machine", "isa", "words"),
    [
        ("armv7l", "scalar", ["lacks NEON", "(scalar)", "many times slower", "Raspberry Pi"]),
        ("x86_64", "scalar", ["lacks AVX2", "(scalar)", "many times slower"]),
        ("x86_64", "sse", ["lacks AVX2", "(sse)", "slower"]),
    ],
)
def test_slow_kernels_are_told_once(
    monkeypatch: pytest.MonkeyPatch, said: None, machine: str, isa: str, words: list[str]
) -> None:
    lines = [*SCALAR, ("b1", isa, True), ("b1", "better", False)]
    monkeypatch.setattr(library, "kernels", table(*lines))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        engine_library()
        engine_library()
    assert len(caught) == 1
    assert caught[0].category is RuntimeWarning
    assert str(caught[0].message) == slow_kernels()
    for word in words:
        assert word in str(caught[0].message)


def test_fast_kernels_are_not_worth_a_word(monkeypatch: pytest.MonkeyPatch, said: None) -> None:
    monkeypatch.setattr(library, "kernels", table(*SCALAR, ("b1", "neon", True), ("b1", "dotprod", False)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert engine_library() == library_path()
    assert slow_kernels() is None


def test_who_asks_for_scalar_gets_no_warning(monkeypatch: pytest.MonkeyPatch, said: None) -> None:
    monkeypatch.setattr(library, "kernels", table(*SCALAR))
    monkeypatch.setenv("EDGELM_ISA", "scalar")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine_library()
    assert slow_kernels() is None


def test_chosen_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [*SCALAR, ("b1", "neon", True), ("f32", "neon", True), ("b1", "dotprod", True), ("b1", "future", False)]
    monkeypatch.setattr(library, "kernels", table(*lines))
    for isa, chosen in {
        "": {"b1": "dotprod", "f32": "neon"},
        "dotprod": {"b1": "dotprod", "f32": "neon"},
        "neon": {"b1": "neon", "f32": "neon"},
        "scalar": {"b1": "scalar", "f32": "scalar"},
        "future": {},
        "typo": {},
    }.items():
        monkeypatch.setenv("EDGELM_ISA", isa)
        assert chosen_kernels() == chosen


def test_the_choice_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python says of the table is what a convolution gets."""
    from edgelm.bench.kernels import PRECISIONS, layer
    from edgelm.bench.shapes import SHAPES
    from edgelm.export.quant_graph import encode
    from edgelm.runtimes.native import QuantGraph, kernels

    for isa in sorted({kernel.isa for kernel in kernels() if kernel.able}):
        monkeypatch.setenv("EDGELM_ISA", isa)
        chosen = chosen_kernels()
        for name in ("W1A1", "W1A32", "W32A32"):
            precision = PRECISIONS[name]
            with QuantGraph(*encode(layer(SHAPES[-1], precision, consumer=False))) as graph:
                (step,) = [step for step in graph.steps() if step.op == "conv"]
            assert (step.kind, step.isa) == (precision.kind, chosen[precision.kind])
