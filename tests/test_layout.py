"""The layout is a contract: the top-level folders, what imports what, and what a wheel may contain."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgelm

ROOT = Path(__file__).parents[1]
checkout = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="these tests look at the checkout; this copy of tests/ lies outside of it"
)
MAX_LINES = 300


def tracked() -> list[Path]:
    """Files that git tracks or would add, links left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


@checkout
@pytest.mark.parametrize("name", ["export", "models", "runtimes"])
def test_top_folders_are_subpackages(name: str) -> None:
    link = ROOT / "edgelm" / name
    assert link.is_dir(), f"{link} is not a link; run `git config core.symlinks true` and check out again"
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)


@checkout
def test_top_level() -> None:
    folders = {"edgelm", "export", "runtimes", "models", "tests", "benchmarks", "docs", ".ci"}
    files = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", ".gitignore"}
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} == folders | files


@checkout
def test_files_are_short() -> None:
    sources = [path for path in tracked() if path.suffix in {".py", ".c", ".h", ".inc", ".sh"}]
    assert len(sources) > 20
    long = {str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_text().splitlines())) >= MAX_LINES}
    assert not long


@checkout
def test_no_machine_paths() -> None:
    machine = re.compile(rf"{'/'}work/|{'/'}tmp/[a-z]|{'/'}root/|{'/'}home/[a-z]")
    texts = [path for path in tracked() if path.suffix in {".py", ".c", ".h", ".md", ".toml", ".sh", ".txt", ""}]
    found = [f"{p.relative_to(ROOT)}: {m.group()}" for p in texts if (m := machine.search(p.read_text()))]
    assert not found


@checkout
def test_bundled_files_are_small() -> None:
    large = {str(p.relative_to(ROOT)): size for p in tracked() if (size := p.stat().st_size) > 1 << 20}
    assert not large


def test_package_claims_one_top_level_name() -> None:
    files = importlib.metadata.files("edgelm") or []
    names = [f.parts[0] for f in files if f.suffix in {".py", ".so", ".c", ".h"} and "editable" not in f.name]
    assert set(names) <= {"edgelm"}
    assert not [f for f in files if f.suffix in {".c", ".h"} or f.name == "CMakeLists.txt"]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("edgelm", "torch onnx onnxruntime typer rich numpy cv2"),
        ("edgelm.runtimes.runtime", "torch onnx onnxruntime ai_edge_litert typer rich"),
        ("edgelm.runtimes.native", "torch onnx onnxruntime ai_edge_litert typer rich"),
        ("edgelm.bench", "torch onnx onnxruntime ai_edge_litert typer rich"),
        ("edgelm.cli.app", "torch onnx onnxruntime ai_edge_litert numpy cv2"),
    ],
)
def test_imports_are_light(module: str, absent: str, tmp_path: Path) -> None:
    if module == "edgelm.cli.app":
        pytest.importorskip("typer", reason="the command line needs the extra [cli]")
    code = f"import sys, {module}; print(*sorted(set({absent.split()!r}) & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


def test_version() -> None:
    assert edgelm.__version__ == importlib.metadata.version("edgelm")
