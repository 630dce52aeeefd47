"""Runs the command `piecrust`: in this process through Typer's runner, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piecrust.cli.app import app
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[3]
CONTRACTS = ROOT / "fixtures" / "contracts" / "bin"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """What one command line gave."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def data(self) -> Any:
        """The data of a `--json` envelope."""
        return json.loads(self.stdout)["data"]


class Command:
    """The command in a directory, with an environment of its own."""

    def __init__(self, directory: Path, cache: Path) -> None:
        self.directory = directory
        self.environment = {
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "PIECRUST_CACHE": str(cache),
            "PIECRUST_PAGER": "cat",
            "PIECRUST_STORE": "",
            "PIECRUST_OWNER": "07" * 32,
            "NO_COLOR": "",
            "CLICOLOR_FORCE": "",
            "COLUMNS": "100",
        }

    def __call__(self, *words: str, code: int | None = 0, env: Mapping[str, str] | None = None) -> Answer:
        """One command line in this process; its exit code must be `code` (None: any)."""
        before = Path.cwd()
        os.chdir(self.directory)
        try:
            result = CliRunner().invoke(
                app, list(words), env={**self.environment, **(env or {})}, catch_exceptions=False
            )
        finally:
            os.chdir(before)
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        assert code is None or answer.exit_code == code, f"{words} gave {answer}"
        return answer

    def json(self, *words: str, code: int | None = 0) -> Any:
        """The data of a command line with `--json`."""
        return self(*words, "--json", code=code).data

    def process(
        self, *words: str, code: int | None = 0, stdin: str | None = None, env: Mapping[str, str] | None = None
    ) -> Answer:
        """One command line as a process."""
        done = subprocess.run(
            [sys.executable, "-m", "piecrust", *words],
            cwd=self.directory,
            env={**os.environ, **self.environment, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert code is None or answer.exit_code == code, f"{words} gave {answer}"
        return answer


def contract_file(name: str) -> str:
    """The path of a compiled contract."""
    return str(CONTRACTS / f"{name}.wasm")
