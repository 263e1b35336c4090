"""The native library's own test on every kind of CPU: its kernels are able where they should be, and agree.

The test prints a checksum of the scalar kernels for each kind and fails where another instruction set differs. Here the
checksums of all CPUs, real and emulated, are held against those of this machine.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_FLAGS = {"sse": "sse4_1", "avx2": "avx2", "avx512": "avx512_vpopcntdq"}


@dataclass(frozen=True)
class Cpu:
    """A CPU to test on.

    Attributes:
        name: what reports call it.
        platform: the wheel whose library runs there.
        emulator: the command before the test's own; empty for this machine.
        root: what the emulator takes as the root of its file system, "" for this machine's.
        isas: the instruction sets that must be able.
        rounds: of the test; emulation is slow.
    """

    name: str
    platform: str
    emulator: tuple[str, ...]
    root: str
    isas: frozenset[str]
    rounds: int


def this_machine(cpuinfo: str) -> frozenset[str]:
    """The instruction sets that the kernel says this x86 machine has, as edgelm calls them."""
    flags = set(re.findall(r"\w+", cpuinfo))
    return frozenset({"scalar", *(isa for isa, flag in _FLAGS.items() if flag in flags)})


ROUNDS = 60


def cpus(cpuinfo: str) -> tuple[Cpu, ...]:
    """This machine first, whose checksums the others must have; then CPUs that lack what the library uses, and ARM."""
    x86, arm, arm32 = (f"manylinux_2_17_{arch}" for arch in ("x86_64", "aarch64", "armv7l"))
    scalar, neon = frozenset({"scalar"}), frozenset({"scalar", "neon"})
    return (
        Cpu("this machine", x86, (), "", this_machine(cpuinfo), ROUNDS),
        Cpu("x86-64 without SSE4.1", x86, ("qemu-x86_64", "-cpu", "qemu64"), "", scalar, ROUNDS),
        Cpu("x86-64 without AVX", x86, ("qemu-x86_64", "-cpu", "Nehalem"), "", frozenset({"scalar", "sse"}), ROUNDS),
        Cpu("ARMv7 without NEON", arm32, ("qemu-arm", "-cpu", "cortex-a9,neon=off"), "armhf", scalar, ROUNDS),
        Cpu("ARMv7", arm32, ("qemu-arm", "-cpu", "cortex-a7"), "armhf", neon, ROUNDS),
        Cpu("Cortex-A53", arm, ("qemu-aarch64", "-cpu", "cortex-a53"), "arm64", neon, ROUNDS),
        Cpu("Cortex-A72", arm, ("qemu-aarch64", "-cpu", "cortex-a72"), "arm64", neon, ROUNDS),
        Cpu(
            *("Cortex-A76, 16 KB pages", arm, ("qemu-aarch64", "-cpu", "cortex-a76", "-p", "16384"), "arm64"),
            *(neon | {"dotprod"}, ROUNDS),
        ),
    )


def command(cpu: Cpu, builds: Path, room: Path) -> list[str]:
    """Runs the test on a CPU; `builds` holds the libraries, `room` the Debian roots."""
    root = ("-L", str(room / cpu.root)) if cpu.root else ()
    return [*cpu.emulator, *root, str(builds / cpu.platform / "edgelm_selftest"), str(cpu.rounds)]


def checksums(output: str) -> dict[str, set[str]]:
    """Kind -> its checksums on all instruction sets that ran."""
    found: dict[str, set[str]] = {}
    for kind, value in re.findall(r"^(\w+) \w+ ok (\w{8})$", output, re.MULTILINE):
        found.setdefault(kind, set()).add(value)
    return found


def faults(cpu: Cpu, output: str, here: dict[str, set[str]]) -> list[str]:
    """What a test's output has that it should not have, a sentence each; `here` are this machine's checksums."""
    said = []
    able = frozenset(re.findall(r"^\w+ (\w+) ok \w{8}$", output, re.MULTILINE))
    if able != cpu.isas:
        said.append(f"{', '.join(sorted(able)) or 'nothing'} ran, and should have: {', '.join(sorted(cpu.isas))}")
    for kind, values in checksums(output).items():
        if len(values) != 1 or (kind in here and values != here[kind]):
            said.append(
                f"{kind} has the checksum {', '.join(sorted(values))}, and here {', '.join(here.get(kind, ()))}"
            )
    if len(checksums(output)) < 7:
        said.append(f"only {', '.join(checksums(output))} were tested")
    return said
