"""What a shell is told when somebody presses TAB."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from support.command import TIMEOUT_SECONDS, Command, contract_file

COUNTER = blake3(Path(contract_file("counter")).read_bytes()).hexdigest()


def complete(piecrust: Command, *words: str) -> list[str]:
    """The candidates for the last of these words."""
    answer = piecrust("completion", "--words", str(len(words)), "--", "piecrust", *words)
    return [line.partition("\t")[0] for line in answer.lines]


def test_commands_and_their_descriptions(piecrust: Command) -> None:
    assert complete(piecrust, "che") == ["checkout"]
    assert "status" in complete(piecrust, "")
    answer = piecrust("completion", "--words", "1", "--", "piecrust", "che")
    assert answer.stdout == "checkout\tOpen the working state on any revision.\n"


def test_sub_commands(piecrust: Command) -> None:
    assert complete(piecrust, "meta", "") == ["set", "get", "unset"]
    assert complete(piecrust, "bisect", "re") == ["reset"]


def test_options_of_the_command_and_those_of_all(piecrust: Command) -> None:
    assert complete(piecrust, "log", "--g") == ["--graph"]
    assert "--json" in complete(piecrust, "log", "--")
    assert complete(piecrust, "--ver") == ["--version"]


def test_revisions(counting: Command) -> None:
    counting("tag", "v1", "main~1")
    counting("branch", "side")
    assert complete(counting, "show", "") == ["HEAD", "main", "side", "v1"]
    assert complete(counting, "diff", "main..s") == ["main..side"]
    head = counting("rev-parse", "HEAD").stdout.strip()
    assert complete(counting, "show", head[:6]) == [head]
    assert complete(counting, "query", "counter", "read_value", "--at", "si") == ["side"]


def test_branches_and_tags(counting: Command) -> None:
    counting("tag", "v1")
    assert complete(counting, "switch", "") == ["main"]
    assert complete(counting, "tag", "-d", "") == ["v1"]
    assert complete(counting, "branch", "--delete", "m") == ["main"]


def test_contracts_and_their_functions(counting: Command) -> None:
    assert complete(counting, "call", "c") == ["counter"]
    assert complete(counting, "call", "counter", "") == ["increment", "read_value"]
    assert complete(counting, "query", COUNTER[:8], "read") == ["read_value"]
    counting("alias", "--delete", "counter")
    assert complete(counting, "call", "") == [COUNTER]


def test_the_store_of_another_directory(counting: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = Command(tmp_path_factory.mktemp("elsewhere"), Path(counting.environment["PIECRUST_CACHE"]))
    assert complete(elsewhere, "-C", str(counting.directory), "show", "ma") == ["main"]
    assert complete(elsewhere, "show", "ma") == []


def test_files_are_left_to_the_shell(piecrust: Command) -> None:
    assert complete(piecrust, "deploy", "") == []


def test_values_of_a_fixed_choice(piecrust: Command) -> None:
    assert complete(piecrust, "log", "--color", "a") == ["auto", "always"]
    assert complete(piecrust, "completion", "") == ["bash", "zsh", "fish"]


def test_values_of_an_option_in_the_same_word(counting: Command) -> None:
    assert complete(counting, "query", "counter", "read_value", "--at=ma") == ["--at=main"]
    assert complete(counting, "query", "counter", "read_value", "--at", "=", "ma") == ["main"]  # as bash splits it
    assert complete(counting, "query", "counter", "read_value", "--at", "=") == ["HEAD", "main"]
    assert complete(counting, "log", "--graph=") == complete(counting, "log", "--nope=m") == []


def test_words_that_make_no_sense_have_no_completion(piecrust: Command) -> None:
    assert complete(piecrust, "nonsense", "") == []
    assert complete(piecrust, "status", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_it_understands(piecrust: Command, shell: str) -> None:
    script = piecrust("completion", shell).stdout
    assert "completion --words" in script
    if shutil.which(shell) is not None:
        path = piecrust.directory / "script"
        path.write_text(script)
        subprocess.run([shell, "-n", str(path)], check=True, timeout=TIMEOUT_SECONDS)


def test_bash_completes_with_the_script(counting: Command) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    program = (
        'piecrust() { command "$PYTHON" -m piecrust "$@"; }\n'
        f"{counting('completion', 'bash').stdout}\n"
        'COMP_WORDS=(piecrust call cou); COMP_CWORD=2; _piecrust; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [bash, "--norc", "-c", program],
        cwd=counting.directory,
        env={**os.environ, **counting.environment, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert done.stdout == "counter\n"


def test_fish_completes_with_the_script(counting: Command) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish here")
    program = (
        "function piecrust; $PYTHON -m piecrust $argv; end\n"
        f"{counting('completion', 'fish').stdout}\n"
        "complete -C 'piecrust call cou'; complete -C 'piecrust deploy note'"
    )
    (counting.directory / "notes.wat").touch()
    done = subprocess.run(
        [fish, "--no-config", "-c", program],
        cwd=counting.directory,
        env={**os.environ, **counting.environment, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["counter", "notes.wat"]


def test_zsh_completes_with_the_script(counting: Command) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("there is no zsh here")
    program = (
        "compdef() { }; _describe() { print -l -- $found }; _files() { print files }\n"
        'piecrust() { command $PYTHON -m piecrust "$@" }\n'
        f"{counting('completion', 'zsh').stdout}\n"
        "words=(piecrust call cou); CURRENT=3; _piecrust\n"
        "words=(piecrust show H); CURRENT=3; _piecrust\n"
        "words=(piecrust deploy ''); CURRENT=3; _piecrust\n"
    )
    done = subprocess.run(
        [zsh, "-f", "-c", program],
        cwd=counting.directory,
        env={**os.environ, **counting.environment, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert done.stdout.splitlines() == [f"counter:{COUNTER[:12]}", "HEAD", "files"]
