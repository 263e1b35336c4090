"""What long commands say on stderr where there is no terminal."""

from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the command line needs the extra [cli]")

from edgelm.cli.bar import Bar
from edgelm.models.faults import Fault


def test_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet_s, lines in ((-1.0, ["1 of 2", "2 of 2"]), (1e9, [])):
        with Bar("counting", quiet_s, time_left=True) as bar:
            for done in (1, 2):
                bar.show(done, 2, f"{done} of 2", "still counting")
        captured = capsys.readouterr()
        assert captured.err.splitlines() == lines
        assert captured.out == ""


def test_lines_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = str(Fault(Path("[red]/a[0].jpg"), f"has no annotation {'x' * 300}"))
    with Bar("reading", 1e9) as bar:
        bar.say(line)
    assert capsys.readouterr().err == f"{line}\n"


def test_a_fault_names_its_file_once() -> None:
    assert str(Fault(Path("a.pts"), "is empty")) == "a.pts: is empty"
    assert str(Fault(Path("a.pts"), "a.pts is empty")) == "a.pts is empty"
