"""Fixtures for all tests: VMs on directories of their own, compiled contracts shared by one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from piecrust import VM
from piecrust.vm import native, tracking


def pytest_configure(config: pytest.Config) -> None:
    """`PIECRUST_TRACKER` and `PIECRUST_NATIVE` choose the write tracker and the way into the engine for a whole run."""
    tracking.select(os.environ.get("PIECRUST_TRACKER") or None)
    native.select(os.environ.get("PIECRUST_NATIVE") or None)


@pytest.fixture(scope="session")
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled contracts are kept for the run: never the user's own cache."""
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def open_vm(tmp_path: Path, code_cache: Path) -> Iterator[Callable[..., VM]]:
    """Opens VMs, by default on one directory, and closes them after the test."""
    opened: list[VM] = []

    def open_one(directory: Path | None = None, **options: object) -> VM:
        made = VM(directory or tmp_path / "state", cache_directory=code_cache, **{"sync": False, **options})
        opened.append(made)
        return made

    yield open_one
    for made in opened:
        made.close()


@pytest.fixture
def vm(open_vm: Callable[..., VM]) -> VM:
    """A VM on a fresh directory."""
    return open_vm()
