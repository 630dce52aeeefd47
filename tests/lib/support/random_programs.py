"""Random programs for the script contract, in parts.

A program is a list of steps instead of bytes, so that a failing scenario can be shrunk inside of its programs, too;
`assembled` makes the bytes. The same source of randomness makes the same programs.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from support.programs import PAGE, PAGES, SCRATCH, SCRATCH_PAGES, Program

Step = tuple[object, ...]  # the name of a method of Program, and its arguments; a program among them is a list of steps

NAMES = ("a", "b", "c", "d", "e")  # of the contracts
GHOST = bytes([9]) * 32  # an id that is never deployed
OUTSIDE = 2**64 - 1  # a pointer outside of every memory; 32-bit contracts use its lower half
DEPTH_MAX = 5


def contract_id(name: str) -> bytes:
    return bytes(31) + bytes([1 + NAMES.index(name)])


def assembled(steps: list[Step]) -> Program:
    """The program of some steps."""
    program = Program()
    for method, *arguments in steps:
        inner = [assembled(value) if isinstance(value, list) else value for value in arguments]
        getattr(program, method)(*inner)
    return program


class ProgramMaker:
    """Random programs."""

    def __init__(self, pick: random.Random) -> None:
        self.pick = pick
        self.near: list[str] = []  # names of the contracts that are deployed

    def data(self, longest: int = 24) -> bytes:
        return self.pick.randbytes(self.pick.randrange(longest))

    def contract(self) -> bytes:
        """Mostly a contract that is deployed, sometimes one that may not be."""
        kind = self.pick.random()
        if kind < 0.03:
            return GHOST
        if kind < 0.08 or not self.near:
            return contract_id(self.pick.choice(NAMES))
        return contract_id(self.pick.choice(self.near))

    def scratch(self) -> int:
        """An address in the scratch pages: one of a few places that programs have in common, or any."""
        if self.pick.random() < 0.7:
            return SCRATCH + PAGE * self.pick.randrange(SCRATCH_PAGES) + 8 * self.pick.randrange(4)
        return SCRATCH + self.pick.randrange(SCRATCH_PAGES * PAGE - 100)

    def writable(self) -> int:
        """An address to write at, sometimes beyond the memory's length."""
        if self.pick.random() < 0.9:
            return self.scratch()
        return PAGES * PAGE + self.pick.randrange(3 * PAGE)

    def program(self, depth: int = 0) -> list[Step]:
        pick = self.pick
        steps = [self.step(depth) for _ in range(pick.randrange(1, 6 - depth // 2))]
        if pick.random() < (0.1 if depth == 0 else 0.2):
            steps.append(self.end())
        return steps

    def end(self) -> Step:
        """A step after which nothing follows."""
        pick = self.pick
        return pick.choice(
            (
                ("panic", f"panic {pick.randrange(1000)}"),
                ("panic", b"\xff" + self.data()),
                ("trap",),
                ("burn", 10**9),
                ("exit", pick.choice((-1, 0, 3, PAGE + 1, -(2**31)))),
                ("stop",),
                ("opcode", 0xEE),
                ("raw_panic", pick.choice((0, 5, 70_000))),
            )
        )

    def step(self, depth: int) -> Step:
        makers = self._makers if depth < DEPTH_MAX else self._makers_without_calls
        return self.pick.choice(makers)(self, depth)

    def call(self, depth: int) -> Step:
        limit = self.pick.choice((0, 0, 0, 300, 900, 5000, 60_000, 400_000))
        function = "run" if self.pick.random() < 0.95 else self.pick.choice(("missing", "init", "", b"\xff"))
        return "call", self.contract(), limit, self.program(depth + 1), function

    def raw_call(self, _depth: int) -> Step:
        at = self.pick.choice((SCRATCH, SCRATCH, OUTSIDE))
        return "raw_call", at, SCRATCH, self.pick.choice((0, 3)), self.pick.choice((0, 8, PAGE, PAGE + 1)), 500

    def store(self, _depth: int) -> Step:
        return "store", self.writable(), self.data()

    def load(self, _depth: int) -> Step:
        return "load", self.scratch(), self.pick.randrange(12)

    def add64(self, _depth: int) -> Step:
        return "add64", self.writable(), self.pick.randrange(2**64)

    def fill(self, _depth: int) -> Step:
        pick = self.pick
        return "fill", SCRATCH + pick.randrange(3 * PAGE), pick.randrange(PAGE), pick.randrange(3)

    def fill_outside(self, _depth: int) -> Step:
        return "fill", PAGES * PAGE + self.pick.randrange(PAGE), self.pick.choice((0, 1, PAGE)), 1

    def copy(self, _depth: int) -> Step:
        return "copy", self.scratch(), self.scratch(), self.pick.randrange(100)

    def grow(self, _depth: int) -> Step:
        return "grow", self.pick.choice((0, 1, 1, 2, 70_000))

    def size(self, _depth: int) -> Step:
        return ("size",)

    def query(self, _depth: int) -> Step:
        rare = self.pick.random() < 0.12
        name = self.pick.choice(("huge_price", "no") if rare else ("identity", "reverse", "priced"))
        return "query", name, self.data()

    def raw_query(self, _depth: int) -> Step:
        at, length = self.pick.choice(((SCRATCH, 3), (OUTSIDE, 2), (SCRATCH, 0)))
        return "raw_query", at, length, self.pick.choice((0, 8, PAGE + 1))

    def metadata(self, _depth: int) -> Step:
        return "data", self.pick.choice(("height", "none", ""))

    def raw_data(self, _depth: int) -> Step:
        return self.pick.choice((("raw_data", SCRATCH, 0), ("raw_data", OUTSIDE, 2)))

    def emit(self, _depth: int) -> Step:
        return "emit", self.pick.choice(("moved", "t", "", "é")), self.data()

    def raw_emit(self, _depth: int) -> Step:
        at, length = self.pick.choice(((SCRATCH + 5, 0), (SCRATCH + 5, 3), (OUTSIDE, 2)))
        return "raw_emit", at, length, self.pick.choice((0, 9, PAGE + 1))

    def feed(self, _depth: int) -> Step:
        return "feed", self.data()

    def raw_feed(self, _depth: int) -> Step:
        return "raw_feed", self.pick.choice((0, 3, PAGE + 1))

    def caller(self, _depth: int) -> Step:
        return ("caller",)

    def callstack(self, _depth: int) -> Step:
        return ("callstack",)

    def self_id(self, _depth: int) -> Step:
        return ("self_id",)

    def owner(self, _depth: int) -> Step:
        return "owner", self.pick.choice((None, self.contract()))

    def raw_owner(self, _depth: int) -> Step:
        return "raw_owner", self.pick.choice((0, SCRATCH, OUTSIDE))

    def limit(self, _depth: int) -> Step:
        return ("limit",)

    def spent(self, _depth: int) -> Step:
        return ("spent",)

    def burn(self, _depth: int) -> Step:
        return "burn", self.pick.randrange(200)

    def repeat(self, _depth: int) -> Step:
        body: list[Step] = [("add64", SCRATCH, 1), self.pick.choice((("emit", "r", b""), ("spent",)))]
        return "repeat", self.pick.randrange(5), body

    def set_arg(self, _depth: int) -> Step:
        return "set_arg", self.data()

    def get_arg(self, _depth: int) -> Step:
        # After a host function the buffer holds its answer; a fixed program has put more there itself.
        return "get_arg", self.pick.randrange(40)

    def recurse(self, _depth: int) -> Step:
        return "recurse", self.pick.randrange(150)

    def stop(self, _depth: int) -> Step:
        return "repeat", 1, [("stop",)]

    _plain = (store, store, add64, add64, load, load, fill, copy, copy, grow, size, query, metadata, emit, caller)
    _plain += (callstack, self_id, owner, limit, spent, burn, repeat, set_arg, get_arg, recurse)
    _makers_without_calls: tuple[Callable[[ProgramMaker, int], Step], ...] = _plain * 2 + (stop, raw_owner, raw_data)
    _makers: tuple[Callable[[ProgramMaker, int], Step], ...] = (
        _makers_without_calls
        + (call,) * 22
        + (feed, raw_feed, raw_call, raw_call, raw_query, raw_query, raw_emit, raw_emit, fill_outside)
    )
