"""Imports of bundles in processes that are killed."""

from __future__ import annotations

import io
import random
from pathlib import Path

from piecrust.objects.bundle_reader import read_bundle
from piecrust.objects.bundle_writer import write_history
from piecrust.objects.reach import reachable
from piecrust.objects.store import Store
from support.processes import start
from support.sample_objects import sample
from support.workers import import_in_pieces

KILLS = 12
SAMPLE = sample()


def test_an_import_that_was_killed_goes_on_with_the_next_one(tmp_path: Path) -> None:
    stream = io.BytesIO()
    write_history(SAMPLE.objects, SAMPLE.merge, stream)
    data, rng = stream.getvalue(), random.Random(3)
    Store.open(tmp_path, create=True).close()
    published = []
    for _ in range(KILLS):
        process, connection = start(import_in_pieces, tmp_path, data, rng.randrange(len(data)))
        assert connection.recv() == "begun"
        connection.poll(rng.random() * 0.1)  # until it came so far, or before
        process.kill()
        process.join()
        with Store.open(tmp_path, read_only=True) as store:
            assert store.damage == ()
            assert store.commits() == []
            published.append(sum(1 for _ in store.operations()))
    assert published == sorted(published)
    assert published[0] < published[-1]
    with Store.open(tmp_path) as store:
        stream.seek(0)
        brought = read_bundle(store, stream)
        assert brought.tip == SAMPLE.merge
        for commit in store.commits():
            for kind, address in reachable(store, commit, set()):
                store.load(kind, address)
