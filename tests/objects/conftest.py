"""Fixtures for tests of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from piecrust.objects.store import Store


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """Opens stores by name, each in a directory of its own, and closes them after the test."""
    opened: list[Store] = []

    def open_one(name: str) -> Store:
        opened.append(Store.open(tmp_path / name, create=True, sync=False))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()
