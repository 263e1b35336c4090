"""The room with emulated boards: what its programs start, what its CPUs say of themselves, when a self-test is good."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

if not (Path(__file__).parents[1] / ".ci" / "arm" / "boards.py").is_file():
    pytest.skip("the scripts that make the room are not beside these tests", allow_module_level=True)

from boards import BOARDS, Board, cpuinfo, lay_out
from selftests import checksums, cpus, faults, this_machine

NEON = next(cpu for cpu in cpus("") if cpu.name == "Cortex-A72")
KINDS = ("f32", "i16", "i8", "b1", "r32", "r8", "graph")
GOOD = "".join(f"{kind} {isa} ok 0000000{i}\n" for isa in ("scalar", "neon") for i, kind in enumerate(KINDS))


def test_a_good_self_test_has_no_faults() -> None:
    assert faults(NEON, GOOD, checksums(GOOD)) == []
    assert faults(NEON, f"{GOOD}i8 dotprod not on this CPU\n", checksums(GOOD)) == []


def test_faults_of_a_self_test_are_named() -> None:
    (other,) = faults(NEON, GOOD, checksums(GOOD) | {"b1": {"ffffffff"}})
    assert other == "b1 has the checksum 00000003, and here ffffffff"
    (differ,) = faults(NEON, GOOD.replace("b1 neon ok 00000003", "b1 neon ok 00000009"), {})
    assert "00000003, 00000009" in differ
    assert faults(replace(NEON, isas=frozenset({"scalar"})), GOOD, {}) == [
        "neon, scalar ran, and should have: scalar"
    ]  # fmt: skip
    missing, few = faults(NEON, "b1 scalar ok 00000000\n", {})
    assert "scalar ran, and should have: neon, scalar" in missing
    assert few == "only b1 were tested"


def test_instruction_sets_of_this_machine() -> None:
    assert this_machine("flags : fpu sse2") == {"scalar"}
    assert this_machine("flags : fpu sse4_1 avx2") == {"scalar", "sse", "avx2"}
    assert this_machine("flags : sse4_1 avx2 avx512_vpopcntdq") == {"scalar", "sse", "avx2", "avx512"}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_program_of_a_board(board: Board, tmp_path: Path) -> None:
    room, tools = tmp_path / "a room", tmp_path / "tools"
    (room / board.root / "usr").mkdir(parents=True)
    tools.mkdir()
    emulator = tools / ("qemu-arm" if board.bits == 32 else "qemu-aarch64")
    emulator.write_text('#!/bin/sh\necho "$PYTHONPATH"\necho "$EDGELM_ARM_PYTHON"\nprintf "%s\\n" "$@"\n')
    emulator.chmod(0o755)
    lay_out(board, room, {"python": ("edgelm", "site")})
    lay_out(board, room, {"python": ("edgelm", "site")})  # a second time changes nothing
    folder = room / board.name
    env = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin", "PYTHONPATH": "own", "EDGELM_QEMU_OPTIONS": "-plugin a,b=1"}
    done = subprocess.run([folder / "python", "-c", "a b"], env=env, capture_output=True, text=True, check=True)
    path, program, *arguments = done.stdout.splitlines()
    assert path == f"{room}/hook:own:{room}/edgelm:{room}/site"
    assert program == str(folder / "python")
    assert arguments == [*board.qemu, "-L", str(folder), "-plugin", "a,b=1", f"{folder}/usr/bin/python3", "-c", "a b"]
    assert (folder / "usr").resolve() == room / board.root / "usr"
    assert (folder / "proc" / "cpuinfo").read_text() == cpuinfo(board)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_what_a_cpu_says_of_itself_matches_the_emulated_one(board: Board) -> None:
    parts = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b", "cortex-a7": "0xc07"}
    text = cpuinfo(board)
    assert text.count(f"CPU part\t: {parts[board.qemu[1]]}\n") == 4
    assert ("asimddp" in text) == (board.qemu[1] == "cortex-a76")
