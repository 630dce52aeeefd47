"""Transcripts come back as they were stored, in any size, and nothing else is read as one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import encoding, transcript
from piecrust.objects.access import MemoryObjects
from piecrust.objects.errors import InvalidFormat, ObjectNotFound
from piecrust.objects.ids import BytecodeHash, CommitId, ContractId, Hash
from piecrust.objects.kinds import BODY_BYTES_MAX, TRANSCRIPT_HASH, Kind
from piecrust.objects.steps import (
    Call,
    Deploy,
    Event,
    Failure,
    Migrate,
    QueryAnswer,
    QueryFailure,
    RemoveMeta,
    SetMeta,
    Success,
    feed_of,
)
from piecrust.objects.transcript import Import, Merge, Restore, Side, Transcript, load, store

A, B = ContractId(b"\x0a" * 32), ContractId(b"\x0b" * 32)
CODE = BytecodeHash(b"\x0c" * 32)

hashes = st.binary(min_size=32, max_size=32)
contracts = hashes.map(ContractId)
texts = st.one_of(st.text(max_size=20), st.sampled_from(["", "n" * 256, "é" * 200]))
data = st.one_of(st.binary(max_size=40), st.sampled_from([bytes(256), bytes(257)]))
u64 = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
events = st.lists(st.builds(Event, contracts, texts, data, st.booleans()), max_size=3).map(tuple)
kinds = st.sampled_from(["Panic", "OutOfGas", "RuntimeError"])
outcomes = st.one_of(st.builds(Success, u64, data, events), st.builds(Failure, kinds, texts, events))
answers = st.lists(
    st.builds(QueryAnswer, texts, u64, st.one_of(data, st.builds(QueryFailure, kinds, texts))), max_size=3
).map(tuple)
deploys = st.builds(
    Deploy, contracts, hashes.map(BytecodeHash), data, st.none() | data, u64, st.none() | outcomes, answers
)
feeds = st.none() | st.lists(data, max_size=3).map(feed_of)
simple = st.one_of(
    deploys,
    st.builds(Call, contracts, texts, data, u64, outcomes, answers, feeds),
    st.builds(SetMeta, texts, data),
    st.builds(RemoveMeta, texts),
)
steps = st.recursive(
    simple, lambda inner: st.builds(Migrate, contracts, deploys, st.lists(inner, max_size=3).map(tuple)), max_leaves=4
)
transcripts = st.builds(
    Transcript,
    st.lists(steps, max_size=4).map(tuple),
    st.dictionaries(texts, data, max_size=3),
    st.frozensets(texts, max_size=3),
    st.booleans(),
    st.booleans(),
)
ids = hashes.map(CommitId)
derivations = st.one_of(
    st.builds(Merge, st.none() | ids, ids, ids, st.dictionaries(contracts, st.sampled_from(Side), max_size=3)),
    st.builds(Restore, ids, st.frozensets(contracts, max_size=3)),
    st.builds(Import, st.text(max_size=16), hashes.map(Hash), st.frozensets(contracts, max_size=12)),
)


@settings(max_examples=80, deadline=None)
@given(transcripts | derivations)
def test_what_is_stored_is_what_is_loaded(value):
    objects = MemoryObjects()
    assert load(objects, store(objects, value)) == value


def call(n: int, **changes: object) -> Call:
    value = Call(A, "increment", n.to_bytes(8, "little"), 10**9, Success(n, b""))
    return dataclasses.replace(value, **changes)


def test_a_call_takes_few_bytes():
    objects = MemoryObjects()
    address = store(objects, Transcript((call(1, argument=b""),)))
    assert len(objects.load(Kind.TRANSCRIPT, address)) <= 72


def test_the_order_of_names_and_ids_has_no_influence():
    objects = MemoryObjects()
    one = Transcript(metadata={"a": b"1", "b": b"2"}, excluded_queries=frozenset(["x", "y"]))
    two = Transcript(metadata={"b": b"2", "a": b"1"}, excluded_queries=frozenset(["y", "x"]))
    assert store(objects, one) == store(objects, two)
    c = CommitId(bytes(32))
    merges = [
        Merge(None, c, c, dict(pairs))
        for pairs in ([(A, Side.OURS), (B, Side.THEIRS)], [(B, Side.THEIRS), (A, Side.OURS)])
    ]
    assert store(objects, merges[0]) == store(objects, merges[1])


def test_long_transcripts_are_cut_and_share_what_they_begin_with():
    objects = MemoryObjects()
    calls = tuple(call(n) for n in range(3000))
    first = store(objects, Transcript(calls[:2500]))
    before = {address for kind, address, _ in objects.staged() if kind is Kind.BLOB}
    second = store(objects, Transcript(calls))
    after = {address for kind, address, _ in objects.staged() if kind is Kind.BLOB}
    assert before < after
    assert len(objects.load(Kind.TRANSCRIPT, second)) < 20_000
    assert load(objects, first).steps == calls[:2500]
    assert load(objects, second).steps == calls
    assert all(len(s.value) < BODY_BYTES_MAX[kind] for kind, _, s in objects.staged())


@pytest.mark.parametrize("length", [256, 257, 1 << 18, (1 << 18) + 1, 600_000])
def test_long_strings_are_cut(length):
    objects = MemoryObjects()
    value = Transcript((SetMeta("image", b"\x5a" * length),))
    assert load(objects, store(objects, value)) == value
    assert all(len(s.value) <= 1 << 18 for _, _, s in objects.staged())


def test_many_events_of_one_call_are_cut():
    objects = MemoryObjects()
    many = tuple(Event(A, "tick", n.to_bytes(4, "little"), False) for n in range(5000))
    value = Transcript((call(0, outcome=Success(1, b"", many)),))
    address = store(objects, value)
    assert len(objects.load(Kind.TRANSCRIPT, address)) < 20_000
    assert load(objects, address) == value


def test_references_are_all_blobs_and_bytecodes():
    objects = MemoryObjects()
    deploy = Deploy(A, CODE, b"owner", bytes(300), 5, None)
    other = dataclasses.replace(deploy, contract=B, bytecode=BytecodeHash(b"\x0d" * 32), init=bytes(400))
    address = store(objects, Transcript((deploy, Migrate(A, other, (call(1, argument=b"\x07" * 300),)))))
    found = set(transcript.references(objects, address))
    blobs = {(kind, a) for kind, a, _ in objects.staged() if kind is Kind.BLOB}
    assert found == blobs | {(Kind.BYTECODE, CODE), (Kind.BYTECODE, b"\x0d" * 32)}
    assert len(blobs) == 3


def test_a_missing_part_is_told():
    objects = MemoryObjects()
    address = store(objects, Transcript((call(1, argument=bytes(1000)),)))
    alone = MemoryObjects()
    alone.put(Kind.TRANSCRIPT, address, objects.load(Kind.TRANSCRIPT, address))
    with pytest.raises(ObjectNotFound, match="blob"):
        load(alone, address)


def nested(depth: int) -> Migrate:
    deploy = Deploy(A, CODE, b"", None, 1, None)
    return Migrate(A, deploy, (nested(depth - 1),) if depth > 1 else ())


def test_migrations_nest_to_a_bound():
    objects = MemoryObjects()
    value = Transcript((nested(8),))
    assert load(objects, store(objects, value)) == value
    with pytest.raises(InvalidFormat, match="nested"):
        store(objects, Transcript((nested(9),)))


@pytest.mark.parametrize(
    "step",
    [call(0, gas_limit=2**64), call(0, gas_limit=-1), call(0, outcome=Success(2**64, b"")), call(0, function="\ud800")],
)
def test_what_could_not_be_read_is_not_stored(step):
    with pytest.raises(InvalidFormat):
        store(MemoryObjects(), Transcript((step,)))


ok_call = (1, bytes(A), b"f", b"", 1, (0, 1, b"", ()), (), None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ((2, 0, (), (), False, False, ()), "version"),
        ((True, 0, (), (), False, False, ()), "version"),
        ((1, 4, (), (), False, False, ()), "integer up to 3"),
        ((1, 0, (), (), False, False), "too few"),
        ((1, 0, (), (), False, False, (), 0), "too many"),
        ((1, 0, (), (), 0, False, ()), "boolean"),
        ((1, 0, ((b"b", b""), (b"a", b"")), (), False, False, ()), "out of order"),
        ((1, 0, ((b"a", b""), (b"a", b"")), (), False, False, ()), "out of order"),
        ((1, 0, ((b"\xff", b""),), (), False, False, ()), "UTF-8"),
        ((1, 0, ((b"a", bytes(257)),), (), False, False, ()), "inline"),
        ((1, 0, ((b"a", (256, bytes(32))),), (), False, False, ()), "is cut"),
        ((1, 0, ((b"a", (2**40, bytes(32))),), (), False, False, ()), "integer"),
        ((1, 0, (), (), False, False, (ok_call, bytes(32))), "before them"),
        ((1, 0, (), (), False, False, ((5,),)), "integer up to 4"),
        ((1, 0, (), (), False, False, ((*ok_call, 1),)), "too many"),
        ((1, 0, (), (), False, False, ((1, *ok_call[1:7], (1,)),)), "too few"),
        ((1, 0, (), (), False, False, ((*ok_call[:6], ((b"q", 1, None, None),), None),)), "neither"),
        ((1, 2, bytes(32), bytes(33)), "whole number"),
        ((1, 2, bytes(32), bytes(64)), "out of order"),
        ((1, 1, None, bytes(32), bytes(32), ((bytes(32), 2),)), "integer up to 1"),
        (b"", "no array"),
    ],
)
def test_anything_else_is_refused(value, reason):
    objects = MemoryObjects()
    body = encoding.encode(value)
    objects.put(Kind.TRANSCRIPT, TRANSCRIPT_HASH(body), body)
    with pytest.raises(InvalidFormat, match=reason):
        load(objects, TRANSCRIPT_HASH(body))


def test_the_call_that_the_refusals_are_made_of_is_fine():
    objects = MemoryObjects()
    body = encoding.encode((1, 0, (), (), False, False, (ok_call,)))
    objects.put(Kind.TRANSCRIPT, TRANSCRIPT_HASH(body), body)
    assert load(objects, TRANSCRIPT_HASH(body)).steps == (Call(A, "f", b"", 1, Success(1, b"")),)


def test_feeds_with_the_same_bytes_cut_elsewhere_differ():
    assert feed_of([b"ab", b"c"]) != feed_of([b"a", b"bc"])
    assert feed_of([b"", b""]).count == 2
