"""The pytest plugin, on the example project that documents it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import Command, contract_file

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "example-project"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project"))


def run_pytest(project: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of pytest in a project that knows nothing of this one's configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options],
        cwd=project,
        env={**os.environ, "HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_example_project_passes_with_the_gas_that_it_ships(project: Path) -> None:
    code, output = run_pytest(project, "--piecrust-gas-check")
    assert (code, output.splitlines()[-1].split(" in ")[0]) == (0, "4 passed"), output


def test_another_gas_than_the_snapshot_says_fails_the_test(project: Path) -> None:
    snapshot = project / "gas-snapshot.json"
    known = json.loads(snapshot.read_text())["gas"]
    first = "tests/test_counter.py::test_counts"
    snapshot.write_text(json.dumps({"gas": {**known, first: known[first] - 1}}))
    code, output = run_pytest(project, "--piecrust-gas-check")
    assert code == 1
    assert f"spent {known[first]:,} gas, the snapshot says {known[first] - 1:,}" in output
    assert run_pytest(project)[0] == 0, "gas is looked at only when asked"


def test_the_snapshot_is_written_when_asked(project: Path) -> None:
    snapshot = project / "gas-snapshot.json"
    shipped = snapshot.read_text()
    snapshot.unlink()
    assert "no gas is known for this test" in run_pytest(project, "--piecrust-gas-check")[1]
    assert run_pytest(project, "--piecrust-gas-update")[0] == 0
    assert snapshot.read_text() == shipped


def test_a_snapshot_that_is_none_is_a_usage_error(project: Path) -> None:
    (project / "gas-snapshot.json").write_text("[]")
    code, output = run_pytest(project, "--piecrust-gas-check")
    assert code == 4
    assert "is no gas snapshot" in output


ON_A_STORE = """
import pytest

def test_on_the_setting(session):
    assert session.query(COUNTER, "read_value").data == 255
    session.call(COUNTER, "increment")

def test_again(session):
    assert session.query(COUNTER, "read_value").data == 255

@pytest.mark.piecrust(base="main~2")
def test_on_its_own_revision(session):
    assert session.query(COUNTER, "read_value").data == 253
"""


def test_sessions_stand_on_named_revisions_and_leave_no_trace(project: Path, code_cache: Path) -> None:
    piecrust = Command(project / "state", code_cache)
    piecrust.directory.mkdir()
    piecrust("init")
    counter = piecrust.json("deploy", contract_file("counter"), "--alias", "counter")["contract"]
    for _ in range(3):
        piecrust("call", "counter", "increment")
        piecrust("commit")
    before = piecrust.json("log")
    (project / "tests" / "test_counter.py").write_text(f"COUNTER = bytes.fromhex({counter!r})\n{ON_A_STORE}")
    (project / "pytest.ini").write_text("[pytest]\npiecrust_store = state\npiecrust_base = main\n")
    code, output = run_pytest(project)
    assert code == 0, output
    assert piecrust.json("log") == before
