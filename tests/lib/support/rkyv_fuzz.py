"""A fuzz target over the rkyv decoder. Run it for long with

    python -m support.rkyv_fuzz --seconds 600 --seed 7        (in tests/lib)

Whatever the bytes, decoding gives a value, which encodes again to what decodes to the same, or a `DecodeError`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from piecrust.vm.errors import DecodeError
from piecrust.vm.rkyv.codec import Codec

from support.random_types import Program, damaged

TYPE_ROUNDS = 50
"""Archives that are tried for one type."""


@dataclass
class Outcome:
    """What was tried."""

    types: int = 0
    accepted: int = 0
    refused: int = 0


def fuzz(seed: int, rounds: int, seconds: float = float("inf")) -> Outcome:
    """Tries random types on damaged archives and on random bytes, until there were so many or the time is over."""
    program, outcome, end = Program(seed), Outcome(), time.monotonic() + seconds
    rng = program.random
    while outcome.accepted + outcome.refused < rounds and time.monotonic() < end:
        rust = program.type(4)
        codec = Codec(rust)
        outcome.types += 1
        archives = [codec.encode(program.value(rust)[0]) for _ in range(2)]
        for _ in range(TYPE_ROUNDS):
            if rng.random() < 0.2:
                data = rng.randbytes(rng.choice([codec.layout.size, rng.randrange(200)]))
            else:
                data = damaged(rng, rng.choice(archives))
            try:
                again = codec.encode(codec.decode(data))
            except DecodeError:
                outcome.refused += 1
                continue
            outcome.accepted += 1
            if codec.encode(codec.decode(again)) != again:
                raise AssertionError(f"{rust}: {data.hex()} and {again.hex()} decode to different values (seed {seed})")
    return outcome


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(arguments.seed, fuzz(arguments.seed, rounds=1 << 62, seconds=arguments.seconds))


if __name__ == "__main__":
    main()
