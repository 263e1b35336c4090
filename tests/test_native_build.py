"""What the native library is as a file, and its self-test under the sanitizers, built from this checkout."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from edgelm.runtimes.native import kernels, library_path, library_version

SOURCE = Path(__file__).parents[1] / "runtimes" / "native"
LIMIT = 300  # lines of a source file
KINDS = {"f32", "i16", "i8", "b1", "r32", "r8"}
TABLES = {"i6"}  # kinds that only some instruction sets have


def tool(name: str) -> str:
    """Path of a program, from this environment or the system's; skips the test where there is none."""
    found = shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_version_is_the_packages_or_dev() -> None:
    assert re.fullmatch(r"dev|\d+\.\d+\.\d+.*", library_version())


def test_table_has_a_scalar_reference_of_each_kind_first() -> None:
    table = kernels()
    assert {k.kind for k in table} in (KINDS, KINDS | TABLES)
    assert len({(k.kind, k.isa) for k in table}) == len(table)
    for kind in KINDS:
        isas = [k.isa for k in table if k.kind == kind]
        assert isas[0] == "scalar"
        assert next(k.able for k in table if k.kind == kind)
    assert {k.isa for k in table if k.able} <= {"scalar", "sse", "avx2", "avx512", "neon", "dotprod"}


def test_every_line_of_the_table_has_a_kernel_file() -> None:
    if not SOURCE.is_dir():
        pytest.skip("the sources of the native library are not beside these tests")
    lines = re.findall(r"^EDGELM_KERNEL\((\w+), (\w+), .+\)$", (SOURCE / "src" / "kernels.inc").read_text(), re.M)
    assert {kind for kind, _ in lines} == KINDS | TABLES
    for kind, isa in lines:
        texts = [path.read_text() for path in (SOURCE / "src").glob(f"kernel_{isa}*.c")]
        if isa != "scalar":  # whose lines a macro makes
            assert sum(text.count(f"const edgelm_kernel edgelm_{kind}_{isa} =") for text in texts) == 1


def test_exports_the_abi_alone() -> None:
    symbols = output(tool("nm"), "-D", "--defined-only", str(library_path())).split("\n")
    names = {line.split()[-1].split("@")[0] for line in symbols if line}
    assert {"edgelm_graph_create", "edgelm_graph_run", "edgelm_kernels", "RegisterCustomOps"} <= names
    known = re.compile(r"edgelm_(crop|deform|graph|heatmap|kernels|version)|RegisterCustomOps$|tflite_plugin_")
    assert [name for name in names if not known.match(name)] == []


def test_needs_libc_alone() -> None:
    dynamic = output(tool("readelf"), "-d", str(library_path()))
    needed = set(re.findall(r"\(NEEDED\).*\[(.+?)\.so", dynamic))
    assert needed <= {"libc", "libm", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64", "ld-linux-armhf"}


def self_test_agrees(folder: Path, *options: str) -> None:
    """Builds the self-test with these options and runs it: the kernels of a kind have one checksum."""
    output(tool("cmake"), "-S", str(SOURCE), "-B", str(folder), *options)
    output(tool("cmake"), "--build", str(folder), "--target", "edgelm_selftest", "--parallel", "2")
    checksums = defaultdict(set)
    for line in output(str(folder / "edgelm_selftest"), "4").splitlines():
        if found := re.fullmatch(r"(\w+) (\w+) ok (\w{8})", line):
            checksums[found[1]].add(found[3])
    assert {kind: len(values) for kind, values in checksums.items() if kind in KINDS} == dict.fromkeys(KINDS, 1)
    assert "crop" in checksums


def test_self_test_passes_under_sanitizers(tmp_path: Path) -> None:
    if not SOURCE.is_dir():
        pytest.skip("the sources of the native library are not beside these tests")
    tool("cc")
    flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
    self_test_agrees(tmp_path, "-DCMAKE_BUILD_TYPE=Debug", f"-DCMAKE_C_FLAGS={flags}")


def test_self_test_passes_with_emulated_avx512(tmp_path: Path) -> None:
    if not SOURCE.is_dir():
        pytest.skip("the sources of the native library are not beside these tests")
    if platform.machine() not in ("x86_64", "AMD64") or not Path("/usr/include/simde").is_dir():
        pytest.skip("the emulation is built on x86 with SIMDe (Debian: libsimde-dev)")
    tool("cc")
    self_test_agrees(tmp_path, "-DEDGELM_EMULATE_AVX512=ON", "-DEDGELM_WERROR=OFF", "-DCMAKE_C_FLAGS=-O1")


def test_sources_are_short() -> None:
    if not SOURCE.is_dir():
        pytest.skip("the sources of the native library are not beside these tests")
    sources = [*SOURCE.glob("src/*.[ch]"), *SOURCE.glob("*.py")]
    assert {p.name: n for p in sources if (n := len(p.read_text().splitlines())) > LIMIT} == {}
