"""Deployments of bytecode that was never seen, and of bytecode whose compiled form is kept on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import Bench, in_process, open_original
from measure import Measured, Row, Stopwatch, in_turn
from piecrust import VM
from subjects import CONTRACTS, GAS, OWNER

NAMES = ("box", "token", "large")
LARGE_BYTES = 200_000


def rows(bench: Bench) -> Iterator[Row]:
    """The original keeps no compiled form of what it is given again."""
    for name in NAMES:
        wasm = (CONTRACTS / f"{name}.wasm").read_bytes()
        init = bytes(8) if name == "token" else None
        kept = bench.empty()
        in_process(deployed, kept, wasm, init)

        def ours(wasm: bytes = wasm, init: bytes | None = init, kept: Path = kept) -> Measured:
            cold, cached = (in_process(deployed, cache, wasm, init) for cache in (bench.empty(), kept))
            return {"cold": cold, "cached": cached}

        def rival(name: str = name) -> Measured:
            assert bench.original is not None
            open_original(bench.original, None)
            path = str(CONTRACTS / f"{name}.wasm")
            told = bench.original.ask("deploy", wasm=path, owner=OWNER.hex(), init=bytes(8).hex())
            return {"deploy": told["us"] / 1000}

        mine, theirs = in_turn(bench.effort.rounds, ours, rival if bench.original is not None else None)
        large = len(wasm) >= LARGE_BYTES
        title = f"deploy: {name}, {len(wasm) // 1000} KB"
        yield Row(f"{title}, cold", "ms", mine["cold"], theirs.get("deploy"), 2.0 if large else None)
        yield Row(f"{title}, cached", "ms", mine["cached"], theirs.get("deploy"), limit=3 if large else None)


def deployed(cache: Path, wasm: bytes, init: bytes | None) -> float:
    """Milliseconds of a deployment with that cache of compiled code; this process has deployed another contract."""
    watch = Stopwatch()
    with VM.ephemeral(cache_directory=cache) as vm, vm.session() as session:
        session.deploy(CONTRACTS / "minimal.wasm", OWNER)
        watch.time("deploy", lambda: session.deploy(wasm, OWNER, gas_limit=GAS, init=init))
    return watch["deploy"].p50 / 1000
