"""The README's session, typed into a terminal as a new user would."""

from __future__ import annotations

import doctest
import fcntl
import os
import pty
import re
import select
import shlex
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.command import ROOT, TIMEOUT_SECONDS, Command, contract_file

PROMPT = "ready> "
MATCHING = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A shell on a pseudo-terminal of 40 rows and 120 columns."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        attributes = termios.tcgetattr(descriptor)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        self._read_to_prompt()

    def type(self, line: str) -> str:
        """What appears between a line and the next prompt."""
        os.write(self._descriptor, f"{line}\n".encode())
        return self._read_to_prompt()

    def _read_to_prompt(self) -> str:
        seen = b""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not seen.endswith(PROMPT.encode()):
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no prompt after {seen!r}"
            seen += os.read(self._descriptor, 65536)
        return seen.decode().removesuffix(PROMPT).replace("\r\n", "\n")


@contextmanager
def shell(directory: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """`sh` in a terminal, with the command `piecrust` at hand."""
    child, descriptor = pty.fork()
    if child == 0:  # pragma: no cover  (becomes the shell)
        os.chdir(directory)
        os.execvpe("sh", ["sh"], {**os.environ, **environment, "PS1": PROMPT, "TERM": "xterm"})
    try:
        yield Terminal(descriptor)
    finally:
        os.write(descriptor, b"exit\n")
        os.waitpid(child, 0)
        os.close(descriptor)


def readme_session() -> list[tuple[str, str]]:
    """The commands of the README's `console` block, with what it says that they print."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1, "the README has one session"
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in re.split(r"^\$ ", blocks[0], flags=re.M)[1:]]


def test_what_does_not_fit_on_the_screen_goes_through_the_pager(counting: Command) -> None:
    environment = {
        **{name: value for name, value in counting.environment.items() if value},
        "PIECRUST_PAGER": "sed s/^/paged:/",
    }
    log = f"{shlex.quote(sys.executable)} -m piecrust op-log --color never"
    with shell(counting.directory, environment) as terminal:
        assert terminal.type("stty rows 10; stty size").startswith("10 ")
        assert all(line.startswith("paged:") for line in terminal.type(log).splitlines())
        assert "paged:" not in terminal.type(f"{log} --no-pager")
        assert "paged:" not in terminal.type(f"{log} -n 1")
        assert "paged:" not in terminal.type(f"{log} | cat")


def test_what_takes_long_shows_that_it_lives_and_takes_it_away_again(store: Command) -> None:
    store("deploy", contract_file("endless"), "--alias", "endless")
    environment = {name: value for name, value in store.environment.items() if value}
    query = f"{shlex.quote(sys.executable)} -m piecrust query endless run --time-limit 1.5 --gas-limit {2**63}"
    with shell(store.directory, environment) as terminal:
        seen = terminal.type(query)
        assert "\r\x1b[Kquery run 1 s\r\x1b[K" in seen
        assert COLOURS.sub("", seen.rpartition("\r\x1b[K")[2]).startswith("Error: the call took longer than 1.5 s\n")
        assert "query run" not in terminal.type(f"{query} 2>&1 | cat")


def test_the_session_in_the_readme_is_what_a_new_user_sees(piecrust: Command) -> None:
    (piecrust.directory / "contracts").symlink_to(ROOT / "fixtures" / "contracts" / "bin")
    bin_directory = piecrust.directory / "bin"
    bin_directory.mkdir()
    script = bin_directory / "piecrust"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m piecrust "$@"\n')
    script.chmod(0o755)
    environment = {
        **{name: value for name, value in piecrust.environment.items() if value},
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
    }
    checker = doctest.OutputChecker()
    colourful = False
    with shell(piecrust.directory, environment) as terminal:
        for command, expected in readme_session():
            seen = terminal.type(command)
            colourful |= bool(COLOURS.search(seen))
            text = COLOURS.sub("", seen)
            assert checker.check_output(expected, text, MATCHING), f"$ {command}\n{text}"
        assert terminal.type("piecrust nonsense; echo $?").endswith("2\n")
    assert colourful, "a terminal has colours"
