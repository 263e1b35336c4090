"""README's six lines work as they stand, and every command it names exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bundled import lay_out

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
pytestmark = pytest.mark.skipif(not README.is_file(), reason="README.md lies in the checkout only")


def test_the_six_lines(tmp_path: Path) -> None:
    lay_out(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "points.png").stat().st_size > 1000


def test_its_commands_exist() -> None:
    app = pytest.importorskip("edgelm.cli.app", reason="the command line needs the extra [cli]").app
    known = {(c.name or c.callback.__name__) for c in app.registered_commands}
    named = set(re.findall(r"^edgelm (\w+)", README.read_text(), re.MULTILINE))
    assert len(named) > 5
    assert named <= known


def test_the_table_of_speed_is_made_of_the_results() -> None:
    script = ROOT / "benchmarks" / "table.py"
    if not script.is_file():
        pytest.skip("the benchmarks are not beside these tests")
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0


@pytest.mark.parametrize("script", ["sizes.py", "accuracy.py", "pose_accuracy.py"])
def test_tables_of_documents_are_made_of_their_figures(script: str) -> None:
    pytest.importorskip("torch", reason="networks are torch modules")
    path = ROOT / "benchmarks" / script
    if not path.is_file():
        pytest.skip("the benchmarks are not beside these tests")
    assert subprocess.run([sys.executable, str(path), "--check"], check=False).returncode == 0
