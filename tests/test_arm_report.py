"""Counting on ARM: counts are exact and read rightly, the gate fires, and the tables say what is so."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARM = ROOT / "benchmarks" / "arm"
if not ARM.is_dir():
    pytest.skip("benchmarks are no part of an installed package", allow_module_level=True)
sys.path.insert(0, str(ARM))

import gate
import tables
from bounds import bounds
from calibration import CALIBRATIONS, milliseconds
from counting import Block, Mapping, Window, classes, instructions, least, read_maps, read_windows, step_of, within
from crossbuild import BuildError, cross_compiler, run
from mca import cost, joined
from room import BOARDS, HERE, Room
from single import Layer, parse_layer
from symbols import named_functions

from edgelm.errors import UsageError

ADD, NOP, RET = 0x91000400, 0xD503201F, 0xD65F03C0


def test_a_block_that_was_translated_twice_is_one() -> None:
    lines = [
        "window",
        "3 1000 d503201f d65f03c0",
        "4 1000 d503201f d65f03c0",
        "1 1000 d65f03c0",
        "end",
        "window",
        "end",
    ]
    first, second = read_windows(lines)
    assert first == {Block(0x1000, (NOP, RET)): 7, Block(0x1000, (RET,)): 1}
    assert instructions(first) == 15
    assert second == {}


def test_a_step_is_half_of_what_two_more_runs_execute() -> None:
    inside, around = Block(0, (NOP, NOP)), Block(8, (NOP,))
    once: Window = Counter({inside: 10, around: 5})
    assert step_of(once, Counter({inside: 30, around: 5})) == {inside: 10}


def test_functions_are_named_with_their_file() -> None:
    lines = [
        *("0000 a one.c", "0020 t tile", "0000 t $x", "0000 d table", "0000 a two.c", "0010 t tile", "0010 t $x"),
        *("0030 T edgelm_version", "0000 a "),
    ]
    assert named_functions(lines) == ([0x10, 0x20, 0x30], ["two.c tile", "one.c tile", "edgelm_version"])


def test_a_loop_across_two_pages_is_one_block() -> None:
    before, first = Block(0x0FF0, (ADD,) * 4), Block(0x0FF8, (ADD,) * 2)  # the way into the loop, and its first part
    second, after = Block(0x1000, (ADD, 0x54FFFFE1)), Block(0x1008, (RET,))  # b.ne to 0x0FF8
    window: Window = Counter({before: 1, first: 9, second: 10, after: 1})
    whole = joined(window)
    loop = Block(0x0FF8, first.words + second.words)
    assert whole == {Block(0x0FF0, before.words + second.words): 1, loop: 9, after: 1}
    assert instructions(whole) == instructions(window)


def test_the_least_window_counts_if_another_is_near() -> None:
    windows: list[Window] = [Counter({Block(0, (NOP,)): runs}) for runs in (100_000, 300_000, 99_950)]
    assert instructions(least("a", windows)) == 99_950
    with pytest.raises(BuildError, match="run it again"):
        least("a", windows[1:])
    with pytest.raises(BuildError, match=r"executed \[\]"):
        least("a", [])


@pytest.mark.parametrize(
    ("word", "group"),
    [
        (0x3DC00020, "load or store"),  # ldr q0, [x1]
        (0xA9BF7BFD, "load or store"),  # stp x29, x30, [sp, #-16]!
        (0x4E22DC20, "SIMD or float"),  # fmul v0.4s, v1.4s, v2.4s
        (0x6E205800, "SIMD or float"),  # mvn v0.16b, v0.16b
        (0x8B020020, "integer"),  # add x0, x1, x2
        (0x91000420, "integer"),  # add x0, x1, #1
        (0x54000001, "branch or system"),  # b.ne
        (RET, "branch or system"),
    ],
)
def test_classes(word: int, group: str) -> None:
    assert classes(Counter({Block(0, (word,)): 2})) == {group: 2}


def test_only_the_library_counts(tmp_path: Path) -> None:
    library = tmp_path / "lib.so"
    lines = [f"1000-2000 r-xp 00000000 fe:00 1 {library}", "2000-3000 rw-p 00000000 00:00 0"]
    mappings = tuple(read_maps("\n".join([*lines, "3000-4000 r-xp 00000000 fe:00 2 /x"])))
    assert mappings[0] == Mapping(0x1000, 0x2000, 0, str(library))
    assert len(mappings) == 2
    window: Window = Counter({Block(0x1FFC, (NOP,)): 1, Block(0x2000, (NOP,)): 2, Block(0x3000, (NOP,)): 3})
    assert within(window, mappings, library) == {Block(0x1FFC, (NOP,)): 1}


PROGRAM = """
.global _start
_start:
  bl work
  hint #100
  bl work
  hint #101
  mov x8, #93 // exit
  mov x0, #0
  svc #0
work:
  mov x0, #1000
again:
  add v0.4s, v1.4s, v2.4s
  subs x0, x0, #1
  b.ne again
  ret
"""


def test_counts_are_exact(tmp_path: Path) -> None:
    if shutil.which("qemu-aarch64") is None or shutil.which(cross_compiler()[0]) is None:
        pytest.skip("needs qemu-user and a compiler for 64-bit ARM")
    source, program, plugin, out = (tmp_path / name for name in ("a.S", "a", "count.so", "blocks"))
    source.write_text(PROGRAM)
    run([*cross_compiler(), "-nostdlib", "-static", str(source), "-o", str(program)], tmp_path)
    run(["cc", "-O2", "-shared", "-fPIC", str(HERE / "count.c"), "-o", str(plugin)], tmp_path)
    run(["qemu-aarch64", "-cpu", "cortex-a72", "-plugin", f"{plugin},out={out}", str(program)], tmp_path)
    (window,) = read_windows(out.read_text().splitlines())
    # Blocks count from their start: the one that opens the window does not, the one that closes it does, with all four.
    assert instructions(window) == 3 * 1000 + len(("mov", "ret")) + len(("hint", "mov", "mov", "svc"))
    loop = max(window, key=window.__getitem__)
    assert (window[loop], len(loop.words)) == (999, 3)


def test_the_plugin_refuses_to_count_into_nothing(tmp_path: Path) -> None:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("needs qemu-user")
    plugin = tmp_path / "count.so"
    run(["cc", "-O2", "-shared", "-fPIC", str(HERE / "count.c"), "-o", str(plugin)], tmp_path)
    done = subprocess.run(["qemu-aarch64", "-plugin", str(plugin), "x"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "out=FILE" in done.stderr


@pytest.mark.skipif(
    not (ROOT / ".arm" / "counting" / "llvm").is_dir(), reason="LLVM 19 comes with the first `make arm-report`"
)
def test_scheduling_models() -> None:
    room = Room(ROOT / ".arm")
    # Both cores have two pipes for eor, cnt and add of 128 bits; only the A76 has two for fused multiply-adds.
    assert [bounds(room, cpu)["b1"].rate for cpu in ("a72", "a76")] == pytest.approx([128 / 1.5] * 2)
    assert [bounds(room, cpu)["r32"].rate for cpu in ("a72", "a76")] == [4, 8]
    adds = Block(0, tuple(0x4EA08400 | register << 5 | register for register in range(8)))  # add v.4s, each its own
    waits = Block(0, (0x4EA08400,) * 8)  # add v0.4s, v0.4s, v0.4s
    costs = cost(room, "a72", [adds, waits])
    assert costs[adds].bound == costs[waits].bound == 4
    assert 4 <= costs[adds].cycles < 6 < 24 <= costs[waits].cycles  # three cycles until an addition is there


def test_gate_fails_above_one_percent_alone() -> None:
    record = {"compiler": "clang version 1", "instructions": {"a": 1_000_000, "b": 2_000_000}}
    assert gate.faults({"a": 1_009_000, "b": 1_000_000}, record, "clang version 1") == []
    (fault,) = gate.faults({"a": 1_011_000, "b": 2_000_000}, record, "clang version 1")
    assert fault.startswith("a takes 1.011 M instructions, 1.10% more than the 1.000 M recorded")
    assert "--update" in fault


def test_gate_compares_neither_compilers_nor_other_networks() -> None:
    record = {"compiler": "clang version 1", "instructions": {"a": 1_000_000}}
    assert "clang version 2" in gate.faults({"a": 1}, record, "clang version 2")[0]
    assert "['a']" in gate.faults({"b": 1}, record, "clang version 1")[0]


def test_the_gate_knows_its_networks() -> None:
    record = json.loads(gate.RECORD.read_text())
    assert set(record["instructions"]) == set(gate.NETWORKS)
    assert set(gate.NETWORKS.values()) == set(BOARDS)


def row(name: str, cycles: int) -> dict[str, object]:
    return {"name": name, "cpu": "a72", "instructions": 2 * cycles, "model_cycles": cycles}


def test_ratios_are_to_the_best_rival() -> None:
    rows = [row("W1A8 onnx", 10_000_000), row("ort-fp32", 40_000_000), row("litert-fp32", 30_000_000)]
    lines = tables.network_table("net", "a72", [*rows, row("ort-int8", 20_000_000)]).splitlines()
    ms = 10 * 1.58 / 1.8
    assert lines[4] == f"| W1A8 onnx | 20.0 | 10.0 | {ms:.1f} ({ms / 1.25:.1f} to {ms * 1.25:.1f}) | 3.00x | 2.00x |"


def test_every_column_of_an_estimate_says_so() -> None:
    head = tables.network_table("net", "a76", [row("ort-fp32", 1), row("ort-int8", 1)]).splitlines()[2]
    assert [("estimate" in column) for column in head.split("|")[2:-1]] == [False, True, True, True, True]


def test_time_is_cycles_by_the_factor() -> None:
    assert milliseconds(1.8e6, "a72", 1.8) == pytest.approx(CALIBRATIONS["a72"].factor)


def test_the_document_holds_the_results() -> None:
    report = json.loads(tables.RESULTS.read_text())
    text = tables.DOCUMENT.read_text()
    assert tables.placed(text, report) == text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="make arm"):
        Room(tmp_path).python("a72")
    with pytest.raises(BuildError, match=r"no-such-compiler.*EDGELM_ARM_CC"):
        run(["no-such-compiler"], tmp_path)


def test_layers_have_names() -> None:
    layer = parse_layer("W1A8:3x3 128->32 64x64")
    assert isinstance(layer, Layer)
    assert layer.shape.macs == 9 * 128 * 32 * 64 * 64
    for wrong in ("W9A9:3x3 128->32 64x64", "W1A8:3x3", "W1A8"):
        with pytest.raises(UsageError, match="no layer"):
            parse_layer(wrong)
