"""Losing power at every point of a run, and looking at what is left.

A run happens on a simulated disk; `Run.acknowledged` notes what the store promised to keep. `explore` makes the disks
that a loss of power can leave after each change, and `check` opens the store on each of them: what was acknowledged
is there, nothing is there by halves, and a new commit works.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from piecrust.objects.errors import NotAStore
from piecrust.objects.format import SEGMENT_BYTES_MAX
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.store import Store

from support.simulated_disk import ROOT, SimulatedDisk, Stable
from support.stores import make_commit, read_content, stage_commit

DIRECTORY = ROOT / "state"


def open_simulated(disk: SimulatedDisk, **options: object) -> Store:
    """The store on a simulated disk, which is for one thread."""
    return Store.open(DIRECTORY, disk=disk, background=False, **options)


@dataclass
class Run:
    """What a store is asked to do on a simulated disk."""

    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    contents: dict[CommitId, bytes] = field(default_factory=dict)  # of every commit that was tried
    given_up: set[CommitId] = field(default_factory=set)  # commits that somebody tried to delete
    clock: int = 0
    start: Stable = field(default_factory=Stable)

    def synced(self) -> None:
        """Begin here: all that was done so far is on the platters."""
        self.start = Stable.of(self.disk)
        self.start.marks = [event.mark for event in self.disk.events if event.name == "mark"]
        self.disk.events = []

    def open(self, **options: object) -> Store:
        return open_simulated(self.disk, clock=self.tick, **options)

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def create(self, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> None:
        Store.create(DIRECTORY, disk=self.disk, segment_bytes_max=segment_bytes_max)
        self.disk.mark("created")

    def commit(
        self,
        store: Store,
        number: int,
        parent: CommitId | None = None,
        *,
        filler: int = 0,
        acknowledge: bool = True,
    ) -> CommitId:
        """Commit on branch main; what was acknowledged is marked."""
        content = b"%8d" % number
        pages = {1: content + random.Random(number).randbytes(filler)}
        pages = {index: data.ljust(65536, b"\0") for index, data in pages.items()}
        self.contents[stage_commit(store.transaction(), content, parent=parent, pages=pages)] = content
        commit = make_commit(store, content, parent=parent, branch="main", pages=pages)
        if acknowledge:
            self.disk.mark(commit)
        return commit

    def give_up(self, store: Store, commits: list[CommitId]) -> None:
        """Delete commits."""
        self.given_up |= set(commits)
        transaction = store.transaction()
        for commit in commits:
            transaction.delete(commit)
        transaction.publish(Operation("delete"))


def rotate(store: Store) -> None:
    """Go on in a new segment."""
    parts = store._to_write()
    with parts.log.mutex, parts.lock:
        parts.log.prepare()
        parts.log.rotate()


Check = Callable[[Run, SimulatedDisk, list[object]], None]


def check(run: Run, disk: SimulatedDisk, marks: list[object]) -> None:
    """Raise unless the store on `disk` holds everything that was marked, and works."""
    acknowledged = [mark for mark in marks if isinstance(mark, CommitId)]
    try:
        store = open_simulated(disk)
    except NotAStore:
        assert "created" not in marks
        Store.create(DIRECTORY, disk=disk)
        store = open_simulated(disk)
    with store:
        look(run, store, acknowledged)
        head = store.refs().get("heads/main")
        fresh = make_commit(store, b"fresh   ", parent=head, branch="main", expected=head)
        assert store.damage == ()
    with open_simulated(disk.killed(), read_only=True) as store:
        assert store.ref("heads/main") == fresh
        assert read_content(store, fresh) == b"fresh   "
        look(run, store, acknowledged)


def look(run: Run, store: Store, acknowledged: list[CommitId]) -> None:
    """Raise unless every acknowledged commit is there, and every commit that is there is whole."""
    commits = store.commits()
    missing = set(acknowledged) - set(commits) - run.given_up
    assert not missing, f"lost {missing}"
    for commit in commits:
        if commit in run.contents:
            assert read_content(store, commit) == run.contents[commit]
    head = store.refs().get("heads/main")
    if head in run.contents:
        order = list(run.contents)
        assert not acknowledged or order.index(head) >= order.index(acknowledged[-1])
    else:
        assert not acknowledged or head not in (None, *acknowledged[:-1])
    records = list(store.operations())
    assert [record.sequence for record in records] == sorted((r.sequence for r in records), reverse=True)
    for commit in commits:
        store.load(Kind.COMMIT, commit)


def states(
    run: Run, *, states_max: int, seed: int = 0, sectors: tuple[int, ...] = (512, 4096)
) -> Iterator[tuple[SimulatedDisk, list[object]]]:
    """The disks that a loss of power or of the process can leave, at every point of the run."""
    rng = random.Random(seed)
    stable = copy.deepcopy(run.start)
    for event in [*run.disk.events, None]:
        for sector in sectors:
            for disk in stable.crashes(rng, states_max, sector):
                yield disk, list(stable.marks)
        if event is not None:
            stable.take(event)


def explore(run: Run, *, states_max: int, seed: int = 0, check: Check = check) -> int:
    """Check every state; how many there were."""
    count = 0
    for disk, marks in states(run, states_max=states_max, seed=seed):
        check(run, disk, marks)
        count += 1
    return count


def keep_up(store: Store) -> None:
    """Do what the upkeep thread would."""
    upkeep = store._to_write().upkeep
    upkeep.run(upkeep._steps)


def program(run: Run, seed: int, steps: int) -> None:
    """A random run: commits, batches, deletions, new segments, tables, packs, collected garbage, other handles."""
    rng = random.Random(seed)
    store = run.open()
    try:
        for number in range(steps):
            living = [commit for commit in store.commits() if commit in run.contents]
            parent = rng.choice([None, *living[-4:]])
            match rng.choices(range(8), [8, 2, 2, 2, 2, 1, 2, 1])[0]:
                case 0:
                    run.commit(store, 100 * seed + number, parent, filler=rng.choice([0, 0, 700, 5000]))
                case 1:
                    commits = []
                    with store.batch():
                        for part in range(rng.randrange(1, 4)):
                            parent = run.commit(store, 10**6 * (part + 1) + number, parent, acknowledge=False)
                            commits.append(parent)
                    for commit in commits:
                        run.disk.mark(commit)
                case 2:
                    free = sorted(set(living) - set(store.refs().values()))
                    run.give_up(store, rng.sample(free, min(len(free), 2)))
                case 3:
                    rotate(store)
                case 4:
                    keep_up(store)
                case 5:
                    store.seal()
                case 6:
                    store.gc(retention_seconds=0)
                case _:
                    store.close()
                    store = run.open()
    finally:
        store.close()
