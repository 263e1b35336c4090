"""Tests edgelm on the emulated boards of a room, and its library on CPUs that lack what it uses: `make arm-test`.

For each board: the suite of the tests that need no torch, against the installed wheel, with the tests copied away from
the checkout; files exported on this machine, and what they answer compared with what they answer here (parity_*.py);
the commands that a device's owner would run. Tasks run two at a time, each with a log of its own; the log of one that
fails is shown.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

import selftests
from boards import BOARDS, Board

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
# What differs between boards: kernels and the engines that load them. The rest is Python, and the same on all. An
# emulated CPU is slow: unless --full is asked for, only the engines' glue is tested there, beside the self-test, which
# runs every kernel, and beside the files and commands.
LOADING = ("native_build", "native_refusals", "ort_glue", "tflite_glue", "threads", "zoo")
NATIVE = (*LOADING, "native_graph", "native_kernels")
SUITES: dict[str, tuple[str, ...]] = {"pi4": ("native_crop", "ort_glue", "tflite_glue", "zoo")}
FULL: dict[str, tuple[str, ...]] = {"pi4": (), "pi3": LOADING, "pi5": NATIVE, "pi32": NATIVE}
MODEL = "import edgelm.zoo; print(*edgelm.zoo.bundled())"
WAIT = 600  # s, for the files of parity, which are the first thing to be made
BENCHED = "small-bwa"  # of the files of parity
WHOLE = {"pi4": ("python",), "pi32": ("python",)}  # who compares the bundled model, too: its floats take long
COMMANDS = {"pi3": ".onnx", "pi4": ".tflite", "pi5": ".onnx", "pi32": ".tflite"}  # one file each: emulation takes long
EMULATED = "emulated: times mean nothing"


class TaskError(Exception):
    """A task failed; the message says how."""


@dataclass(frozen=True)
class Work:
    """Where things are: the room, the libraries' builds, files for parity, tests away from the checkout, and logs."""

    room: Path
    builds: Path
    parity: Path
    away: Path
    logs: Path
    exported: Event


@dataclass(frozen=True)
class Task:
    """Something to do with a log, and what it is called; it returns a line about it or raises TaskError."""

    name: str
    do: Callable[[Path], str]


def run(log: Path, command: Sequence[str | Path], cwd: Path, **environment: str) -> str:
    """What a command wrote, which also goes to the log; TaskError with the end of it where the command fails."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    with log.open("a") as file:
        file.write(f"$ {' '.join(map(str, command))}\n{done.stdout}\n")
    if done.returncode:
        raise TaskError("\n".join([*done.stdout.splitlines()[-60:], f"exit code {done.returncode}"]))
    return done.stdout


def selftest(work: Work, cpu: selftests.Cpu, here: dict[str, set[str]], log: Path) -> str:
    """The library's own test on a CPU."""
    output = run(log, selftests.command(cpu, work.builds, work.room), work.away)
    if faults := selftests.faults(cpu, output, here):
        raise TaskError("\n".join([output, *faults]))
    return f"{', '.join(sorted(cpu.isas))} agree with this machine"


def suite(work: Work, board: Board, names: Sequence[str], log: Path) -> str:
    """The tests against the installed wheel; all of them where none are named."""
    files = [f"tests/test_{name}.py" for name in names]
    python = work.room / board.name / "python"
    options: tuple[str, ...] = ("-m", "pytest", "-rs", "-p", "no:cacheprovider", "--tb=short")
    command: list[str | Path] = [python, *options, *files]
    return run(log, command, work.away, EDGELM_TEST_EMULATED="1").splitlines()[-1].strip("= ")


def export(work: Work, log: Path) -> str:
    """Files for parity, and what they answer here."""
    output = run(log, [sys.executable, HERE / "parity_make.py", work.parity], ROOT, OMP_NUM_THREADS="1")
    work.exported.set()
    return output.splitlines()[-1]


def parity(work: Work, board: Board, name: str, suffixes: Sequence[str], log: Path) -> str:
    """Files exported here, run there."""
    if not work.exported.wait(WAIT):
        raise TaskError("the files to run were not exported")
    small = [] if name in WHOLE.get(board.name, ()) else ["--small"]
    program: list[str | Path] = [work.room / board.name / name, HERE / "parity_run.py", *small, work.parity, *suffixes]
    return run(log, program, work.away).splitlines()[-1]


def commands(work: Work, board: Board, suffix: str, log: Path) -> str:
    """`edgelm doctor`, `selftest` and `bench`, as their owner would run them; a small network is benched, for time."""
    if not work.exported.wait(WAIT):
        raise TaskError("the files to run were not exported")
    python = work.room / board.name / "python"
    edgelm: list[str | Path] = [python, "-m", "edgelm"]
    findings = json.loads(run(log, [*edgelm, "doctor", "--json"], work.away))
    if not findings["emulator"]:
        raise TaskError(f"doctor does not notice that it is emulated: {findings}")
    bundled = run(log, [python, "-c", MODEL], work.away).split()
    run(log, [*edgelm, "selftest", *(file for file in bundled if file.endswith(suffix))], work.away)
    told = run(log, [*edgelm, "bench", "--runs", "2", work.parity / f"{BENCHED}{suffix}"], work.away)
    if EMULATED not in told:
        raise TaskError(f"bench does not say '{EMULATED}':\n{told}")
    return f"doctor, selftest and bench work with {suffix}"


def without_neon(work: Work, log: Path) -> str:
    """The command line on a 32-bit CPU without NEON."""
    python = work.room / "pi32" / "python"
    code = "from edgelm.runtimes.native import kernels; print(*{k.isa for k in kernels() if k.able})"
    able = run(log, [python, "-c", code], work.away, EDGELM_QEMU_OPTIONS="-cpu cortex-a9,neon=off").split()
    if able != ["scalar"]:
        raise TaskError(f"expected the scalar kernels alone to be able without NEON, got {able}")
    return "the wheel loads and chooses scalar kernels"


def tasks(work: Work, checksums: dict[str, set[str]], others: Sequence[selftests.Cpu], full: bool) -> list[Task]:
    """All that is to be done, the longest first; `checksums` are this machine's, `others` the CPUs to compare."""
    suites = FULL if full else SUITES
    listed = [Task("export", partial(export, work))]
    listed += [
        Task(f"{board.name} tests", partial(suite, work, board, suites[board.name]))
        for board in sorted(BOARDS, key=lambda board: len(suites.get(board.name, ())))
        if board.name in suites
    ]
    for board in BOARDS:
        suffixes = (".tflite",) if board.bits == 32 else (".onnx", ".tflite")
        listed.append(Task(f"{board.name} parity", partial(parity, work, board, "python", suffixes)))
        listed.append(Task(f"{board.name} commands", partial(commands, work, board, COMMANDS[board.name])))
    (old,) = (board for board in BOARDS if board.name == "pi4")
    listed.append(Task("pi4 parity, tflite-runtime", partial(parity, work, old, "python-tflite-runtime", (".tflite",))))
    listed += [Task(f"self-test, {cpu.name}", partial(selftest, work, cpu, checksums)) for cpu in others]
    return [*listed, Task("without NEON", partial(without_neon, work))]


def do(work: Work, task: Task) -> bool:
    """Does a task, says what came of it, and returns whether that is good."""
    start = time.monotonic()
    log = work.logs / f"{task.name.replace(',', '').replace(' ', '-')}.log"
    try:
        said, good = task.do(log), True
    except TaskError as error:
        said, good = f"FAILED, {log}\n{error}", False
    print(f"{task.name}: {said} ({time.monotonic() - start:.0f} s)", flush=True)
    return good


def copy_tests(away: Path) -> None:
    """The tests as they are here, in a folder at the same depth below one with shared/, where real data lie."""
    shutil.rmtree(away.parent, ignore_errors=True)
    away.mkdir(parents=True)
    shutil.copytree(ROOT / "tests", away / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, away)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        (away.parent / "shared").symlink_to(shared.resolve())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("room", type=Path, nargs="?", default=ROOT / ".arm", help="folder that make_room.py made")
    parser.add_argument("--full", action="store_true", help="whole suites: takes half an hour and more")
    parser.add_argument("--only", metavar="WORDS", help="tasks whose name holds this, such as 'pi4 parity'")
    asked = parser.parse_args()
    build = ROOT / ".build" / "arm"
    work = Work(
        room=asked.room.resolve(),
        builds=ROOT / ".build" / "wheels",
        parity=build / "parity",
        away=build / "copy" / "main",
        logs=build / "logs",
        exported=Event(),
    )
    shutil.rmtree(work.logs, ignore_errors=True)
    work.logs.mkdir(parents=True)
    copy_tests(work.away)
    here, *others = selftests.cpus(Path("/proc/cpuinfo").read_text())
    try:
        own = run(work.logs / "here.log", selftests.command(here, work.builds, work.room), work.away)
        if faults := selftests.faults(here, own, {}):
            raise TaskError("\n".join(faults))
    except TaskError as error:
        sys.exit(f"{error}\narm: failed on this machine already")
    listed = tasks(work, selftests.checksums(own), others, asked.full)
    chosen = [task for task in listed if (asked.only or "") in task.name]
    if any("parity" in task.name for task in chosen) and listed[0] not in chosen:
        chosen.insert(0, listed[0])
    with ThreadPoolExecutor(2) as pool:
        good = list(pool.map(partial(do, work), chosen))
    if failed := [task.name for task, well in zip(chosen, good, strict=True) if not well]:
        sys.exit(f"arm: failed: {'; '.join(failed)}")
    if not chosen:
        sys.exit(f"arm: no task's name holds {asked.only!r}")
    print(f"arm: all {len(chosen)} tasks passed")


if __name__ == "__main__":
    main()
