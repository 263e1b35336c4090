"""What the bench tells of a machine, read from made-up ones: boards, clocks, heat, emulators, and nobody's secrets."""

import getpass
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgelm.bench import cpu, device
from edgelm.bench.device import device_info, emulator

PI4 = {
    "proc/cpuinfo": "".join(
        f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd crc32 cpuid\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
        for i in range(4)
    )
    + "Revision\t: c03114\nSerial\t\t: 100000001234abcd\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/self/comm": "python3\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "61342\n",
    "sys/class/thermal/thermal_zone1/type": "wifi\n",
    "sys/class/thermal/thermal_zone1/temp": "99000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
}
X86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put files in place of this machine's, and its architecture."""

    def make(files: dict[str, str], arch: str = "aarch64") -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(cpu, "ROOT", tmp_path)
        monkeypatch.setattr(platform, "machine", lambda: arch)

    return make


def firmware(monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> list[Any]:
    """`vcgencmd` as it answers on a board; the list fills with the timeouts it was called with."""
    timeouts: list[Any] = []

    def run(command: list[str], **options: Any) -> Any:
        assert command == ["vcgencmd", "get_throttled"]
        timeouts.append(options["timeout"])
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(command, 0, stdout=answer)

    monkeypatch.setattr(subprocess, "run", run)
    return timeouts


def test_a_raspberry_pi(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(PI4)
    timeouts = firmware(monkeypatch, "throttled=0x50005\n")
    info = device_info()
    assert (info["cpu"], info["board"]) == ("4x Cortex-A72", "Raspberry Pi 4 Model B Rev 1.4")
    assert (info["emulated"], info["emulator"]) == (False, None)
    assert (info["governor"], info["clock_mhz"], info["clock_max_mhz"]) == ("ondemand", 600, 1800)
    assert info["temperature_c"] == 61.342
    assert info["throttled"] == ["undervoltage now", "throttled now", "undervoltage since boot", "throttled since boot"]
    assert all(0 < timeout < 10 for timeout in timeouts)
    assert len(timeouts) == 1


@pytest.mark.parametrize(
    "answer",
    [
        FileNotFoundError("vcgencmd"),
        subprocess.TimeoutExpired("vcgencmd", 2),
        subprocess.CalledProcessError(255, "vcgencmd"),
        "Can't open device file: /dev/vcio\n",
        "",
    ],
)
def test_no_word_from_the_firmware(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    firmware(monkeypatch, answer)
    assert device.setting()["throttled"] is None


def test_nothing_to_complain_about(monkeypatch: pytest.MonkeyPatch) -> None:
    firmware(monkeypatch, "throttled=0x0\n")
    assert device.setting()["throttled"] == []


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ([(0x41, 0xD03)] * 4, "4x Cortex-A53"),
        ([(0x41, 0xD0B)] * 4, "4x Cortex-A76"),
        ([(0x41, 0xD05)] * 4 + [(0x41, 0xD0B)] * 4, "4x Cortex-A55, 4x Cortex-A76"),
        ([(0x41, 0xC07)], "Cortex-A7"),
        ([(0x41, 0xFFF)], "ARM part 0xfff"),
        ([(0x51, 0x805)], "Qualcomm part 0x805"),
        ([(0x99, 0xD08)], "implementer 0x99 part 0xd08"),
    ],
)
def test_names_of_arm_parts(machine: Any, parts: list[tuple[int, int]], name: str) -> None:
    lines = [f"CPU implementer\t: {i:#04x}\nCPU architecture: 8\nCPU part\t: {p:#05x}\n" for i, p in parts]
    machine({"proc/cpuinfo": "\n".join(lines)})
    assert cpu.cpu_model() == name


def test_x86_has_a_name_of_its_own(machine: Any) -> None:
    machine({"proc/cpuinfo": X86}, "x86_64")
    assert cpu.cpu_model() == "AMD EPYC"
    assert cpu.board() is None
    assert emulator() is None


@pytest.mark.parametrize("name", ["qemu-aarch64", "qemu-arm-static", "qemu-x86_64", "box64", "FEXInterpreter"])
def test_an_emulator_by_the_name_of_the_process(machine: Any, name: str) -> None:
    machine(PI4 | {"proc/self/comm": f"{name}\n"})
    assert emulator() == name
    assert device_info()["emulated"] is True


def test_an_emulator_by_its_own_file(machine: Any, tmp_path: Path) -> None:
    """Started by binfmt_misc the process has the guest's name."""
    machine(PI4)
    (tmp_path / "proc/thread-self").mkdir()
    (tmp_path / "proc/self/exe").symlink_to("/usr/bin/python3.11")
    real = tmp_path / "proc/thread-self/exe"
    real.symlink_to("/usr/bin/python3.11")
    assert emulator() is None
    real.unlink()
    real.symlink_to("/usr/libexec/qemu-binfmt/qemu-aarch64-binfmt-P")
    assert emulator() == "qemu-aarch64-binfmt-P"
    real.unlink()
    real.symlink_to("/another")
    assert emulator() == "an emulator"


@pytest.mark.parametrize(
    ("info", "arch", "name"),
    [
        (X86, "aarch64", "an emulator"),
        (X86, "armv7l", "an emulator"),
        (PI4["proc/cpuinfo"], "x86_64", "an emulator"),
        ("vendor_id\t: VirtualApple\nmodel name\t: VirtualApple @ 2.50GHz\n", "x86_64", "rosetta"),
        ("vendor_id\t: AuthenticAMD\nmodel name\t: QEMU TCG CPU version 2.5+\n", "x86_64", "qemu"),
    ],
)
def test_an_emulator_by_its_processor(machine: Any, info: str, arch: str, name: str) -> None:
    machine({"proc/cpuinfo": info}, arch)
    assert emulator() == name
    if name == "an emulator":
        assert cpu.cpu_model() == arch  # never the host's name


def test_nothing_personal(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(PI4)
    monkeypatch.setenv("EDGELM_LIBRARY", "/secret/someone/libedgelm.so")
    text = json.dumps(device_info(), allow_nan=False)
    assert "1234abcd" not in text  # the board's serial number
    assert "secret" not in text
    assert str(Path.home()) not in text or Path.home() == Path("/")
    name = platform.node()
    assert not name or f'"{name}"' not in text
    user = getpass.getuser()
    assert f'"{user}"' not in text


def test_pages_and_bits_of_this_machine() -> None:
    info = device_info()
    assert info["page_bytes"] in (4096, 16384, 65536)
    assert info["userland_bits"] in (32, 64)
    assert info["native"]["isa"].keys() >= {"b1", "i8", "f32"}
    assert set(info["engines"]) == {"onnx", "tflite"}
