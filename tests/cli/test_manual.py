"""docs/cli.md is what the application says of itself."""

from __future__ import annotations

import pytest
from piecrust.cli.app import app
from piecrust.cli.command_table import COMMANDS
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.manual import ENVIRONMENT, EXIT_CODE_MEANINGS, manual
from support.command import ROOT, Command
from typer.main import get_command


def test_the_manual_in_the_repository_is_the_applications() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == manual(), "run: python -m piecrust.cli.manual > docs/cli.md"


def test_every_exit_code_is_explained() -> None:
    assert set(EXIT_CODE_MEANINGS) == set(ExitCode)


def test_every_variable_that_is_read_is_explained() -> None:
    read = {
        word.strip("\"'")
        for path in (ROOT / "cli").rglob("*.py")
        for word in path.read_text()
        .replace("(", " ")
        .replace("[", " ")
        .replace(")", " ")
        .replace("]", " ")
        .replace(",", " ")
        .split()
        if word.startswith(('"PIECRUST_', '"NO_COLOR', '"CLICOLOR'))
    }
    assert read
    assert [name for name in read if f"`{name}`" not in ENVIRONMENT] == []


def commands() -> list[list[str]]:
    found = []
    for name in COMMANDS:
        command = get_command(app).get_command(None, name)  # type: ignore[attr-defined]  # a group
        found += [[name, sub] for sub in getattr(command, "commands", {})] or [[name]]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_helps_with_examples_that_name_it(piecrust: Command, words: list[str]) -> None:
    text = piecrust(*words, "--help").stdout
    assert "\n  Examples:\n" in text
    assert f"piecrust {' '.join(words)}" in text.partition("Examples:")[2]


def test_the_table_tells_what_the_commands_tell(piecrust: Command) -> None:
    listed = piecrust("--help").stdout
    for entry in COMMANDS.values():
        assert f"  {entry.name}" in listed
        assert entry.summary in listed
        assert entry.summary.endswith(".")
