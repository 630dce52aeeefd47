"""What the original answered, replayed: on both write trackers, and on both ways into the engine."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from piecrust.vm import native, tracking
from support import vectors
from support.fixtures import VECTORS

WAYS = (("userfaultfd", "unchecked"), ("compiled", "unchecked"), ("userfaultfd", "public"))


@pytest.fixture(params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    tracker, path = request.param
    try:
        tracking.select(tracker)
    except OSError as error:
        pytest.skip(f"no {tracker} here: {error}")
    native.select(path)
    yield
    tracking.select(os.environ.get("PIECRUST_TRACKER") or None)
    native.select(os.environ.get("PIECRUST_NATIVE") or None)


@pytest.mark.parametrize("name", vectors.names())
@pytest.mark.usefixtures("way")
def test_the_original_is_followed_but_for_the_listed_deviations(name: str, tmp_path: Path, code_cache: Path) -> None:
    assert vectors.unexpected(name, tmp_path, code_cache) == []


def test_every_deviation_has_a_clause_and_every_clause_a_deviation() -> None:
    listed = tomllib.loads((VECTORS / "deviations.toml").read_text())
    assert {entry["clause"] for entry in listed["deviation"]} == set(listed["clauses"])


def test_deviations_are_about_files_that_are_replayed() -> None:
    listed = tomllib.loads((VECTORS / "deviations.toml").read_text())["deviation"]
    assert {entry["file"] for entry in listed} <= set(vectors.names())
