"""Small commits: a session on the last one, its first call, and a commit."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench, Call, Chain, OriginalChain, extend, first_commit, first_commit_original
from measure import Measured, Row, Traffic, bytes_in, in_turn, repeat
from piecrust.objects.ids import ContractId
from store import used_bytes
from subjects import COUNTER

WARM_UP = 20


def rows(bench: Bench) -> Iterator[Row]:
    """Latencies, syncs and bytes of small commits, and what a shared sync is worth."""
    yield from latency_rows(bench)
    yield batch_row(bench)
    yield others_row(bench)


def latency_rows(bench: Bench) -> Iterator[Row]:
    """Ours with its sync and without, the original's, in turn on the same machine."""
    times, rounds, original = bench.effort.commits, bench.effort.rounds, bench.original
    directory, ours_at = bench.empty(), bench.empty()
    with bench.vm(ours_at) as durable, bench.vm(bench.empty(), sync=False) as loose:
        chains = [Chain(vm, Call(), extend(vm, first_commit(vm), WARM_UP)[-1], times) for vm in (durable, loose)]
        traffic = Traffic()

        def ours() -> Measured:
            with traffic:
                measured = chains[0]()
            without = chains[1]()
            return {**measured, "without": without["whole"], "p99 / p50 without": without["p99 / p50"]}

        rival = None
        if original is not None:
            rival = OriginalChain(original, Call(), first_commit_original(original, directory), WARM_UP)
            rival()
            rival.times = times
        before, theirs_before = used_bytes(ours_at), bytes_in(directory)
        mine, theirs = in_turn(rounds, ours, rival)
        ours_bytes = (used_bytes(ours_at) - before) / (times * rounds)
        theirs_bytes = (bytes_in(directory) - theirs_before) / (times * rounds) if original is not None else None
    yield Row("session", "us", mine["session"], theirs.get("session"))
    yield Row("first call in a session", "us", mine["call"], theirs.get("call"))
    yield Row("session + first call", "us", mine["session + call"], theirs.get("session + call"), 0.4)
    yield Row("commit, durable", "us", mine["commit"], theirs.get("commit"))
    yield Row("session + call + durable commit", "us", mine["whole"], theirs.get("whole"), 0.9)
    yield Row("the same, p99 / p50", "", mine["p99 / p50"], limit=3)
    yield Row("the same without the sync", "us", mine["without"], theirs.get("whole"), 0.5)
    yield Row("the same without the sync, p99 / p50", "", mine["p99 / p50 without"])
    yield Row("syncs per commit", "", traffic.syncs / (times * rounds), limit=1)
    yield Row("bytes per commit", "bytes", ours_bytes, theirs_bytes, limit=1200)


def batch_row(bench: Bench) -> Row:
    """Commits that share one sync."""
    times = bench.effort.batched
    with bench.vm(bench.empty()) as vm:
        base = extend(vm, first_commit(vm), WARM_UP)[-1]
        mine, _ = in_turn(
            bench.effort.rounds, lambda: {"batch": repeat(lambda: extend(vm, base, times), 1).p50 / times}, None
        )
    return Row("small commit in vm.batch() (3,000 a second: 333 us)", "us", mine["batch"], limit=1e6 / 3000)


def others_row(bench: Bench) -> Row:
    """Bytes of a commit when there are many other contracts, and most positions of the map are taken."""
    others, times, original = bench.effort.others, bench.effort.commits, bench.original
    contracts = [COUNTER, *(ContractId(number.to_bytes(32, "big")) for number in range(1000, 1000 + others))]
    ours_at = bench.empty()
    with bench.vm(ours_at, sync=False) as vm:
        base = extend(vm, first_commit(vm, contracts), WARM_UP)[-1]
        before = used_bytes(ours_at)
        Chain(vm, Call(), base, times)()
        ours = (used_bytes(ours_at) - before) / times
    theirs = None
    if original is not None:
        directory = bench.empty()
        chain = OriginalChain(original, Call(), first_commit_original(original, directory, contracts), times)
        before = bytes_in(directory)
        chain()
        theirs = (bytes_in(directory) - before) / times
    name = f"bytes per commit beside {others:,} contracts"
    return Row(name, "bytes", ours, theirs, limit=2048)
