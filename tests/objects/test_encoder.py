"""How objects are laid down: deltas of depth one, compression where it pays, nothing twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3
from piecrust.objects.catalog import Location
from piecrust.objects.errors import CorruptObject
from piecrust.objects.frame import Encoding
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.store import Store
from support.stores import make_commit, read_page


def location(store: Store, kind: Kind, address: bytes) -> Location:
    found = store._reader.catalog.locate(kind, address)
    assert found is not None
    return found


def put_page(store: Store, data: bytes, base: bytes | None = None, hint: int | None = None) -> bytes:
    transaction = store.transaction()
    address = blake3(data).digest()
    transaction.put(Kind.PAGE, address, data, base=base, hint=hint)
    transaction.publish(Operation("put"))
    return address


def test_a_page_that_changes_a_little_is_stored_as_a_delta_of_depth_one(tmp_path: Path) -> None:
    data = bytearray(os.urandom(PAGE_BYTES))
    with Store.open(tmp_path, create=True) as store:
        full = address = put_page(store, bytes(data))
        pages = {address: bytes(data)}
        for number in range(40):
            at = number * 1000
            data[at : at + 8] = b"%8d" % number
            # Every other time nothing is known about what differs.
            address = put_page(store, bytes(data), address, 1 << at // 4096 if number % 2 else None)
            pages[address] = bytes(data)
            found = location(store, Kind.PAGE, address)
            assert found.encoding == Encoding.DELTA
            assert store._reader.payload(Kind.PAGE, address, found)[:32] == full
            assert found.length < 32 + (number + 1) * 24
    with Store.open(tmp_path) as store:
        for address, page in pages.items():
            assert store.load(Kind.PAGE, address) == page
        # What is known of a delta's base is lost with the handle; the next delta is right all the same.
        data[5:13] = b"reopened"
        address = put_page(store, bytes(data), address, 1)
        assert store._reader.payload(Kind.PAGE, address, location(store, Kind.PAGE, address))[:32] == full
        store._reader.cache.clear()
        assert store.load(Kind.PAGE, address) == bytes(data)


def test_a_delta_that_saves_too_little_gives_way_to_a_whole_page(tmp_path: Path) -> None:
    data = os.urandom(PAGE_BYTES)
    with Store.open(tmp_path, create=True) as store:
        first = put_page(store, data)
        changed = put_page(store, os.urandom(PAGE_BYTES // 7) + data[PAGE_BYTES // 7 :], first)
        assert location(store, Kind.PAGE, changed).encoding == Encoding.RAW
        little = put_page(store, os.urandom(PAGE_BYTES // 10) + data[PAGE_BYTES // 10 :], first)
        assert location(store, Kind.PAGE, little).encoding == Encoding.DELTA
        zeros = put_page(store, b"x" + bytes(PAGE_BYTES - 1), first)
        assert location(store, Kind.PAGE, zeros).encoding == Encoding.ZSTD


def test_versions_within_one_batch_share_a_base(tmp_path: Path) -> None:
    data = bytearray(os.urandom(PAGE_BYTES))
    with Store.open(tmp_path, create=True) as store:
        addresses = []
        with store.batch():
            base = None
            for number in range(5):
                data[0:8] = b"%8d" % number
                base = put_page(store, bytes(data), base)
                addresses.append(base)
        encodings = [location(store, Kind.PAGE, address).encoding for address in addresses]
        assert encodings == [Encoding.RAW] + [Encoding.DELTA] * 4
        store._reader.cache.clear()
        assert store.load(Kind.PAGE, addresses[3])[:8] == b"%8d" % 3


def test_a_base_that_is_gone_or_damaged_is_told(tmp_path: Path) -> None:
    data = os.urandom(PAGE_BYTES)
    with Store.open(tmp_path, create=True) as store:
        base = put_page(store, data)
        delta = put_page(store, b"changed " + data[8:], base)
        found = location(store, Kind.PAGE, base)
        store._reader.cache.clear()
        path = tmp_path / ".piecrust" / "log" / "00000001.seg"
        with path.open("r+b") as file:
            file.seek(found.offset + 100)
            file.write(b"damage")
        for address in (base, delta):
            with pytest.raises(CorruptObject) as caught:
                store.load(Kind.PAGE, address)
            assert (caught.value.object_kind, caught.value.address) == (Kind.PAGE, address)
        del store._reader.catalog.fresh[Kind.PAGE][base]
        with pytest.raises(CorruptObject, match="base"):
            store.load(Kind.PAGE, delta)


def test_an_object_is_stored_once(tmp_path: Path) -> None:
    data = os.urandom(PAGE_BYTES)
    with Store.open(tmp_path, create=True) as one, Store.open(tmp_path) as two:
        put_page(one, data)
        # The other handle learns of the page only under the lock.
        end = one._log.position.end
        put_page(two, data)
        assert two._log.position.end - end < 300
        put_page(one, data)
        assert one._log.position.end - end < 600


def test_small_commits_stay_small(tmp_path: Path) -> None:
    noise = os.urandom(3000)
    with Store.open(tmp_path, create=True) as store:
        head: CommitId | None = None
        for number in range(40):
            page = (b"%8d" % number + noise).ljust(PAGE_BYTES, b"\0")
            head = make_commit(store, b"", parent=head, branch="main", pages={1: page})
            if number == 10:
                start = store._log.position.end
        assert (store._log.position.end - start) / 29 < 700
        assert head is not None
        assert read_page(store, head)[:8] == b"%8d" % 39


def test_a_transaction_larger_than_a_frame_is_cut_into_several(tmp_path: Path) -> None:
    pages = {index: os.urandom(PAGE_BYTES) for index in range(300)}
    with Store.open(tmp_path, create=True) as store:
        first = make_commit(store, b"first   ")
        large = make_commit(store, b"", parent=first, branch="main", pages=pages)
        for index in (0, 150, 299):
            assert read_page(store, large, index) == pages[index]
    with Store.open(tmp_path) as store:
        assert store.ref("heads/main") == large
        assert store.commits() == [first, large]
        assert read_page(store, large, 299) == pages[299]


def test_many_pages_are_compressed_by_several_threads_each_to_its_own_place(tmp_path: Path) -> None:
    pages = {
        number: (b"%4d" % number + os.urandom(64)) * 900 + os.urandom(PAGE_BYTES - 68 * 900) for number in range(70)
    }
    with Store.open(tmp_path, create=True) as store:
        commit = make_commit(store, b"", pages=pages)
    with Store.open(tmp_path) as store:
        assert all(read_page(store, commit, number) == page for number, page in pages.items())
        encodings = {location(store, Kind.PAGE, blake3(page).digest()).encoding for page in pages.values()}
        assert encodings == {Encoding.ZSTD}
