"""Stores that earlier versions have written can be read, written, collected and checked for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from piecrust.objects.store import Store
from support.golden_stores import describe, unpack
from support.stores import make_commit, read_content

GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden" / "stores"
STORES = sorted(GOLDEN.glob("version-*/*.tar.xz"))


def test_there_are_golden_stores_of_the_first_version() -> None:
    assert [path.relative_to(GOLDEN).as_posix() for path in STORES[:3]] == [
        "version-1/log.tar.xz",
        "version-1/packs.tar.xz",
        "version-1/sealed.tar.xz",
    ]


@pytest.mark.parametrize("archive", STORES, ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}")
def test_a_golden_store_opens_and_holds_what_it_held(archive: Path, tmp_path: Path) -> None:
    expected = json.loads(archive.with_name(archive.name.replace(".tar.xz", ".json")).read_text())
    unpack(archive, tmp_path)
    for read_only in (True, False):
        with Store.open(tmp_path, read_only=read_only) as store:
            assert store.damage == ()
            assert json.loads(json.dumps(describe(store))) == expected
    with Store.open(tmp_path, background=False) as store:
        head = store.ref_commit("heads/main")
        fresh = make_commit(store, b"new here", parent=head, branch="main", expected=head)
        store.gc(retention_seconds=0)
        assert read_content(store, fresh) == b"new here"
        assert set(expected["commits"]) < {commit.hex() for commit in store.commits()}
        assert store.gc(retention_seconds=0).objects_dead == 0
