"""Measures the rkyv codec: encoding and decoding everyday values, and compiling their types.

    python benchmarks/rkyv.py

The target is 3 us for `([u8; 32], u64)`, each way.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

from measure import Row, table
from piecrust.rkyv import Codec, Option, archive, bytes32, bytes48, decode, encode, i64, rust_type, u64

LIMIT_US = 3.0


@archive
class FnData:
    """As a signed call of a contract carries it."""

    signature: bytes48
    counter: i64


@archive
class Transfer:
    """As an event carries it; not flat."""

    from_: Option[bytes32]
    to: bytes32
    amount: u64
    note: str


VALUES: list[tuple[Any, Any]] = [
    (u64, 7),
    ("([u8; 32], u64)", (b"k" * 32, 7)),
    (FnData, FnData(b"s" * 48, 5)),
    (Transfer, Transfer(None, b"t" * 32, 5, "for the pie")),
    ("Vec<u64>", list(range(100))),
    ("Vec<([u8; 32], u64)>", [(b"k" * 32, 7)] * 100),
    ("BTreeMap<[u8; 32], u64>", {bytes([n]) * 32: n for n in range(100)}),
    ("Vec<u8>", bytes(60_000)),
]


def best_us(run: Callable[[], object]) -> float:
    """The shortest of several runs, in microseconds a call."""
    timer = timeit.Timer(run)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number * 1e6


def rows(written: Any, value: Any) -> list[Row]:
    rust = rust_type(written)
    codec = Codec[Any](rust)
    data = codec.encode(value)
    name, limit = f"{rust}, {len(data)} bytes", LIMIT_US if str(rust) == "([u8; 32], u64)" else None
    return [
        Row(f"{name}: encode", "us", best_us(lambda: encode(value, written)), limit=limit),
        Row(f"{name}: decode", "us", best_us(lambda: decode(data, written)), limit=limit),
        Row(f"{name}: compile", "us", best_us(lambda: Codec(rust))),
    ]


def main() -> None:
    print(table([row for written, value in VALUES for row in rows(written, value)]))


if __name__ == "__main__":
    main()
