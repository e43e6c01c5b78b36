"""The files of `deploy/` by the tools of those who run containers and services."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
EXPOSED = 2.0  # of systemd's 10; a service without any protection has 9.6


def tool(name):
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def test_the_container_file_has_no_finding():
    done = subprocess.run([tool("hadolint"), DEPLOY / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda unit: unit.name)
def test_units_are_understood_and_protected(unit, tmp_path):
    """With a program that is on this machine in place of hilum's, which may not be installed where the unit says."""
    made = tmp_path / unit.name
    made.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8")))
    analyze = tool("systemd-analyze")
    checked = subprocess.run([analyze, "verify", made], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    judged = subprocess.run(
        [analyze, "security", "--offline=true", made], capture_output=True, text=True, check=False
    ).stdout
    assert float(re.search(r"exposure level.*: ([\d.]+)", judged)[1]) <= EXPOSED
