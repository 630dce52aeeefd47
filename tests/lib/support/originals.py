"""Directories that the original wrote (fixtures/original), and what it answered going on from their commits."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import zstandard
from piecrust.objects.ids import StateRoot

from support.answers import Answer, Operation
from support.fixtures import FIXTURES

DIRECTORIES = FIXTURES / "original"
STORE = "store"  # what the operations call the directory, with an @ before it


def names() -> list[str]:
    """The recorded directories."""
    return sorted(path.stem for path in DIRECTORIES.glob("*.jsonl"))


def unpacked(name: str, folder: Path) -> Path:
    """A recorded directory, written into a new folder."""
    packed = (DIRECTORIES / f"{name}.tar.zst").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(zstandard.decompress(packed))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def roots(name: str) -> dict[str, StateRoot]:
    """The commits that were made in it, by name."""
    return {commit: StateRoot.from_hex(root) for commit, root in _lines(name)[0]["roots"].items()}


def listed(name: str) -> set[StateRoot] | None:
    """The commits that the original found in it, None if it failed."""
    found = _lines(name)[0]["listed"]
    return None if found is None else set(map(StateRoot.from_hex, found))


def answers(name: str) -> Iterator[tuple[Operation, Answer]]:
    """What was asked of its commits, with the original's answers."""
    for entry in _lines(name)[1:]:
        yield entry["op"], entry["expect"]


def _lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (DIRECTORIES / f"{name}.jsonl").read_text().splitlines()]
