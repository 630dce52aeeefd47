"""The grammar of revisions, and what each form names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from piecrust.objects.access import MemoryObjects
from piecrust.objects.commit import Commit
from piecrust.objects.errors import AmbiguousRevision, InvalidRevision, ObjectNotFound, UnknownRevision
from piecrust.objects.ids import Address, CommitId, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation, OperationRecord, RefChange
from piecrust.objects.refs import RefValue, Symbolic
from piecrust.objects.revision import resolve, resolve_range
from piecrust.objects.state import EMPTY_STATE
from support.sample_objects import put_commit

ROOT_A, ROOT_B, ROOT_C = (StateRoot(bytes([n]) * 32) for n in (1, 2, 3))


class History:
    """A line of four commits with a side branch merged in, a deleted twin, and refs that moved."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        self.kept: list[CommitId] = []
        self.current: dict[str, RefValue] = {}
        self.log: list[OperationRecord] = []
        self.c0 = self.commit([], ROOT_A)
        self.c1 = self.commit([self.c0], ROOT_B)
        self.c2 = self.commit([self.c1], ROOT_B, time=2)
        self.side = self.commit([self.c0], ROOT_C)
        self.merge = self.commit([self.c2, self.side], ROOT_C, message="merge")
        self.twin = self.commit([self.c0], ROOT_A, keep=False)
        for commit in (self.c0, self.c1, self.c2, self.merge):
            self.move({"heads/main": commit})
        self.move({"heads/side": self.side, "tags/v1": self.c1, "HEAD": Symbolic("heads/main")})

    def commit(self, parents: list[CommitId], root: StateRoot, *, keep: bool = True, **note: object) -> CommitId:
        name = put_commit(self.objects, EMPTY_STATE._replace(state_root=root), parents, None, **note)
        if keep:
            self.kept.append(name)
        return name

    def move(self, refs: dict[str, RefValue | None]) -> None:
        changes = {name: RefChange(self.current.get(name), value) for name, value in refs.items()}
        self.log.append(OperationRecord(len(self.log), 0, Operation("move"), changes))
        for name, value in refs.items():
            if value is None:
                self.current.pop(name, None)
            else:
                self.current[name] = value

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        return self.objects.contains(kind, address)

    def find(self, kind: Kind, prefix: str) -> Sequence[Address]:
        return [Address(a) for k, a, _ in self.objects.staged() if k is kind and a.hex().startswith(prefix)]

    def refs(self) -> Mapping[str, RefValue]:
        return dict(self.current)

    def graph(self, commit: CommitId) -> Commit:
        return self.objects.load(Kind.COMMIT, commit)

    def commits(self) -> Sequence[CommitId]:
        return self.kept

    def commits_with_root(self, root: bytes) -> Sequence[CommitId]:
        return [CommitId(a) for k, a, s in self.objects.staged() if k is Kind.COMMIT and s.value.state_root == root]

    def operations(self) -> Iterator[OperationRecord]:
        return reversed(self.log)


H = History()


@pytest.mark.parametrize(
    ("text", "commit"),
    [
        ("HEAD", H.merge),
        ("@", H.merge),
        ("main", H.merge),
        ("heads/main", H.merge),
        ("v1", H.c1),
        ("tags/v1", H.c1),
        (H.c0.hex(), H.c0),
        (H.c0.hex().upper(), H.c0),
        (H.c0.hex()[:8], H.c0),
        (H.c0.hex()[:4], H.c0),
        ("main~", H.c2),
        ("main~0", H.merge),
        ("main~1", H.c2),
        ("main~3", H.c0),
        ("@~~~", H.c0),
        ("main^", H.c2),
        ("main^0", H.merge),
        ("main^2", H.side),
        ("main^2^", H.c0),
        ("main~1^1~1", H.c0),
        (f"{H.c2.hex()[:10]}~2", H.c0),
        ("root:" + ROOT_B.hex(), None),
        (ROOT_B.hex(), None),
        ("root:" + ROOT_A.hex(), H.c0),  # its twin was deleted
        (ROOT_A.hex(), H.c0),
        ("main@{0}", H.merge),
        ("main@{1}", H.c2),
        ("main@{3}", H.c0),
        ("@{1}", H.c2),
        ("@{2}~1", H.c0),
        ("HEAD@{0}", H.merge),
        ("v1@{0}", H.c1),
    ],
)
def test_revisions_name_commits(text, commit):
    if commit is None:
        with pytest.raises(AmbiguousRevision) as raised:
            resolve(H, text)
        assert set(raised.value.candidates) == {H.c1, H.c2}
    else:
        assert resolve(H, text) == commit


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "main~4",
        "main^3",
        "v1^2",
        "main@{4}",
        "v1@{1}",
        "side@{9}",
        "00ff",
        H.c0.hex()[:3],
        "f" * 64,
        "f" * 65,
        "root:" + "f" * 64,
        "nothing@{1}",
        "heads/nothing",
    ],
)
def test_what_is_not_there_is_unknown(text):
    with pytest.raises(UnknownRevision) as raised:
        resolve(H, text)
    assert raised.value.revision == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "main ~1",
        "~1",
        "^",
        "@{}",
        "@{-1}",
        "main@{yesterday}",
        "main~x",
        "main~1x",
        "a b",
        "root:",
        "root:12",
        "root:" + "g" * 64,
        "a:b",
        "main@{1}@{1}",
        "main@{9999999999}",
        "main~1@{1}",
        "x" * 2000,
        "a\nb",
        "main~²",
    ],
)
def test_what_is_outside_of_the_grammar_is_invalid(text):
    with pytest.raises(InvalidRevision):
        resolve(H, text)


def test_a_branch_and_a_tag_of_one_name_are_ambiguous_unless_they_agree():
    history = History()
    history.move({"heads/v1": history.c2})
    with pytest.raises(AmbiguousRevision):
        resolve(history, "v1")
    assert resolve(history, "tags/v1") == history.c1
    history.move({"heads/v1": history.c1})
    assert resolve(history, "v1") == history.c1


def test_a_name_goes_before_digits():
    history = History()
    name = history.c0.hex()[:6]
    history.move({f"heads/{name}": history.c1})
    assert resolve(history, name) == history.c1


def test_an_ambiguous_prefix_lists_its_candidates():
    history = History()
    known: dict[str, CommitId] = {}
    for n in range(2000):
        commit = history.commit([history.c0], ROOT_A, time=n)
        other = known.setdefault(commit.hex()[:4], commit)
        if other != commit:
            break
    with pytest.raises(AmbiguousRevision) as raised:
        resolve(history, commit.hex()[:4])
    assert {commit, other} <= set(raised.value.candidates)


def test_moves_of_a_detached_head_and_of_a_deleted_branch():
    history = History()
    history.move({"HEAD": history.c1})
    assert resolve(history, "@{0}") == history.c1
    assert resolve(history, "HEAD@{1}") == history.merge
    history.move({"heads/side": None})
    with pytest.raises(UnknownRevision):
        resolve(history, "side")
    history.move({"heads/side": history.c0})
    assert resolve(history, "side@{1}") == history.side


def test_a_head_on_a_branch_without_commits_is_unknown():
    history = History()
    history.move({"HEAD": Symbolic("heads/new")})
    with pytest.raises(UnknownRevision):
        resolve(history, "HEAD")


def test_history_that_was_collected_is_unknown():
    class Shallow(History):
        def graph(self, commit):
            if commit == self.c0:
                raise ObjectNotFound(Kind.COMMIT, commit)
            return super().graph(commit)

    with pytest.raises(UnknownRevision):
        resolve(Shallow(), "main~2~1~1")


def test_ranges():
    assert resolve_range(H, "v1..main") == (H.c1, H.merge)
    assert resolve_range(H, "v1..") == (H.c1, H.merge)
    assert resolve_range(H, "..v1") == (H.merge, H.c1)
    assert resolve_range(H, "main~2..main^2") == (H.c1, H.side)
    for text in ("main", "a...b", "a..b..c"):
        with pytest.raises(InvalidRevision):
            resolve_range(H, text)
