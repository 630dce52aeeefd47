"""Archives in directories of the original, written anew: with other fields, or as older versions wrote them."""

from __future__ import annotations

import struct
from pathlib import Path

from piecrust.vm.original.archives import ArchivedElement, ArchivedPositions
from piecrust.vm.original.directory import OriginalDirectory
from piecrust.vm.rkyv.codec import codec


def rewritten(path: Path, archived: type, **changes: object) -> None:
    """Archives a file anew, with other fields."""
    value = codec(archived).decode(path.read_bytes())
    path.write_bytes(codec(archived).encode(archived(**{**value.__dict__, **changes})))


def write_older_positions(directory: Path, name: str) -> None:
    """Writes positions beside the bases of commits, as older versions did, and makes elements wrong about them."""
    source = OriginalDirectory(directory)
    for commit in source.commits:
        positions = {}
        for contract, owner in source.owners(commit).items():
            element = source.element(contract, owner, commit)
            positions[element.position] = (bytes(element.pages_root), contract.position_key)
        path = source.commit_path(commit) / name
        if name == "tree_pos":
            path.write_bytes(codec(ArchivedPositions).encode(ArchivedPositions(positions)))
        else:
            entries = [struct.pack("<I32sI", at, *entry) for at, entry in sorted(positions.items())]
            path.write_bytes(b"".join(entries))
    for path in (directory / "main" / "leaf").rglob("element"):
        rewritten(path, ArchivedElement, int_pos=77)
