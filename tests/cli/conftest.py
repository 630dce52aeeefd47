"""The command `piecrust` in a directory of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command, contract_file


@pytest.fixture
def piecrust(tmp_path: Path, code_cache: Path) -> Command:
    """The command in an empty directory."""
    return Command(tmp_path, code_cache)


@pytest.fixture
def store(piecrust: Command) -> Command:
    """The command in a directory with an empty store."""
    piecrust("init")
    return piecrust


@pytest.fixture
def counting(store: Command) -> Command:
    """The command on a store with a counter: 252, 253 on `main`, then 254 and 255."""
    store("deploy", contract_file("counter"), "--alias", "counter")
    for number in ("one", "two", "three"):
        store("call", "counter", "increment")
        store("commit", "-m", number)
    return store
