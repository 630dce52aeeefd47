"""docs/format.md is enough to read a store: a reader that was written by it alone finds what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.golden_stores import unpack
from support.plain_store import PlainStore

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden" / "stores" / "version-1"


@pytest.mark.parametrize("name", ["log", "packs", "sealed"])
def test_the_document_is_enough_to_read_a_store(name: str, tmp_path: Path) -> None:
    unpack(GOLDEN / f"{name}.tar.xz", tmp_path)
    expected = json.loads((GOLDEN / f"{name}.json").read_text())
    store = PlainStore(tmp_path / ".piecrust")
    refs = {n: v.hex() if isinstance(v, bytes) else f"ref: {v}" for n, v in store.refs.items() if v is not None}
    assert refs == expected["refs"]
    assert {commit.hex() for commit in store.kept()} == set(expected["commits"])
    for identity, described in expected["commits"].items():
        commit = store.commit(bytes.fromhex(identity))
        assert commit["state_root"].hex() == described["state_root"]
        assert [parent.hex() for parent in commit["parents"]] == described["parents"]
        pages = store.pages(bytes.fromhex(identity))
        assert {str(index): data[:24].hex() for index, data in pages.items()} == described["pages"]
    operations = [[number, r[1], r[2]] for number, r in sorted(store.records.items(), reverse=True)]
    assert operations == expected["operations"]
