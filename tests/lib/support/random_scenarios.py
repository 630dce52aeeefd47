"""Random scenarios for the script contract: operations of the driver's protocol, programs still in parts.

`performable` makes of an operation what a driver understands. The same seed makes the same scenario.

Left out on purpose is what the original dies of, or loses or mixes up state by: addresses of 4 GiB and more, panicking
host queries, start functions, positions that collide, commits on top of deleted or finalized ones, roots between the
migration of a committed contract and the next commit, one id with two bytecodes or owners in the commits of one store,
and reading pages that were never written next to nested calls. fixtures/vectors/deviations.toml has examples.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from support.answers import Operation
from support.programs import PAGE, SCRATCH, SCRATCH_PAGES
from support.random_programs import GHOST, NAMES, OUTSIDE, ProgramMaker, Step, assembled, contract_id

SESSIONS = ("main", "left", "right")
TURNS = (15, 40)  # of a scenario, the first number included


def performable(operation: Operation) -> Operation:
    """The operation with its programs assembled: what a driver understands."""
    done = {name: value for name, value in operation.items() if name not in ("program", "init_program", "calls")}
    if "program" in operation:
        done["arg"] = assembled(operation["program"]).hex()
    if "init_program" in operation:
        done["init"] = assembled(operation["init_program"]).hex()
    if "calls" in operation:
        done["calls"] = [performable(call) for call in operation["calls"]]
    return done


@dataclass
class OpenSession:
    """What the generator knows of a session: its base's name, its contracts with their bytecode.

    Not `committable` is a session in which a contract got other bytecode than commits may have for it. One in which a
    contract of its base was migrated does not show its roots: in the original they are not those of its commit.
    """

    base: str | None
    contracts: dict[str, str] = field(default_factory=dict)
    committable: bool = True
    shows_roots: bool = True


class ScenarioMaker:
    """Random operations on sessions, commits and script contracts; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.programs = ProgramMaker(self.pick)
        self.operations: list[Operation] = []
        self.sessions: dict[str, OpenSession] = {}
        self.session = "main"
        self.commits: dict[str, dict[str, str]] = {}
        self.made = 0
        kinds = ("script", "script", "script_init", "script64")
        self.wasm = {name: self.pick.choice(kinds) for name in NAMES}
        self.owners = {name: self.programs.data().hex() for name in NAMES}

    def make(self) -> list[Operation]:
        """One scenario, from the opening of a VM on."""
        pick = self.pick
        self.op("vm", **({"dir": f"@{pick.randrange(2**64):016x}"} if pick.random() < 0.4 else {}))
        self.directory = self.operations[0].get("dir")
        self.open(None)
        for _ in range(pick.randrange(*TURNS)):
            self.turn()
        self.end()
        return self.operations

    def op(self, name: str, /, **fields: object) -> None:
        if name in ("root", "pages") and not self.sessions[self.session].shows_roots:
            return
        inside = name not in ("vm", "commits", "delete", "finalize")
        if inside and self.session != "main":
            fields["in"] = self.session
        self.operations.append({"op": name, **fields})

    @property
    def here(self) -> dict[str, str]:
        return self.sessions[self.session].contracts

    def contract(self) -> str:
        """A contract of the session in hex, now and then one that is not there."""
        if self.pick.random() < 0.04 or not self.here:
            return self.pick.choice((GHOST, contract_id(self.pick.choice(NAMES)))).hex()
        return contract_id(self.pick.choice(sorted(self.here))).hex()

    def gas(self) -> int:
        if self.pick.random() < 0.12:
            return self.pick.randrange(200, 40_000)
        return self.pick.choice((10**6, 10**7, 10**8))

    # The operations of one turn.

    def turn(self) -> None:
        self.programs.near = sorted(self.here)
        self.pick.choices(self._turns, self._weights)[0](self)

    def call(self) -> None:
        self.op("call", contract=self.contract(), fn="run", program=self.programs.program(), gas=self.gas())
        if self.pick.random() < 0.3:
            self.op("root")
        if self.pick.random() < 0.15:
            self.op("pages", contract=self.contract())

    def failing_call(self) -> None:
        """A call that fails in a way that is chosen, after a few steps that are not."""
        function, last = self.pick.choice(
            (
                ("run", ("panic", "over")),
                ("run", ("panic", "")),
                ("run", ("panic", b"\xfe\xff")),
                ("run", ("panic", b"\xc3")),
                ("run", ("raw_panic", 5)),
                ("run", ("trap",)),
                ("run", ("feed", b"")),
                ("run", ("query", "missing", b"")),
                ("run", ("query", "", b"x")),
                ("run", ("raw_owner", OUTSIDE)),
                ("run", ("exit", -5)),
                ("run", ("burn", 10**9)),
                ("run", ("query", "huge_price", b"")),
                ("run", ("emit", b"\xff", b"")),
                ("run", ("feed", b"x")),
                ("missing", ("stop",)),
                ("A", ("stop",)),
                ("init", ("stop",)),
            )
        )
        steps = [self.programs.step(2) for _ in range(self.pick.randrange(3))]
        self.op("call", contract=self.contract(), fn=function, program=[*steps, last], gas=10**7)

    def stack_overflow(self) -> None:
        """Deep recursion, with gas for more of it than any stack allows.

        Not in 64-bit contracts: their own stack, in memory, leaves the address range first, which the original can't
        survive.
        """
        names = [name for name, wasm in self.here.items() if wasm != "script64"]
        if names:
            contract = contract_id(self.pick.choice(names)).hex()
            self.op("call", contract=contract, fn="run", program=[("recurse", 10**8)], gas=10**9)

    def feeder_call(self) -> None:
        steps = [("feed", self.programs.data()), *self.programs.program(2), ("raw_feed", 2)]
        self.op("feeder_call", contract=self.contract(), fn="run", program=steps, gas=10**7)

    def deploy(self) -> None:
        name = self.pick.choice(NAMES)
        wasm = self.wasm[name]
        fields: dict[str, object] = {"owner": self.owners[name], "gas": self.gas()}
        if wasm == "script_init" and self.pick.random() < 0.8:
            fields["init_program"] = self.programs.program(2)
        self.op("deploy", wasm=f"contracts/bin/{wasm}.wasm", id=contract_id(name).hex(), **fields)
        self.here[name] = wasm
        self.write_all_scratch_pages(name)

    def write_all_scratch_pages(self, name: str) -> None:
        """Makes every page that programs read a page that was written."""
        steps = [("store", SCRATCH + PAGE * page + 100, bytes([page])) for page in range(SCRATCH_PAGES)]
        self.op("call", contract=contract_id(name).hex(), fn="run", program=steps, gas=10**6)

    def refused_deploy(self) -> None:
        pick = self.pick
        path, fields = "contracts/bin/script.wasm", {"owner": "aa", "id": GHOST.hex()}
        match pick.randrange(12):
            case 0 | 1 | 10:
                del fields["owner"]
            case 2 | 3 | 4:
                fields["owner"] = "ee" * 65_600
            case 5 | 6 | 7 | 11:
                path = f"contracts/bad/{pick.choice(('a_f32', 'a_imported', 'no_a'))}.wasm"
            case _:
                bad = ("no_memory", "two_memories", "export_no_param", "import_unknown", "text", "tail_call")
                path = f"contracts/bad/{pick.choice(bad)}.wasm"
        self.op("deploy", wasm=path, **fields)

    def migrate(self) -> None:
        # One that is surely there: the `init` of the others may have failed.
        certain = sorted(name for name, wasm in self.here.items() if wasm != "script_init")
        if not certain:
            return self.deploy()
        name = self.pick.choice(certain)
        wasm = self.pick.choice(("script", "script_init", self.wasm[name]))
        session = self.sessions[self.session]
        session.committable &= wasm == self.wasm[name]
        session.shows_roots &= name not in self.commits.get(session.base, {})
        calls: list[Operation] = [{"fn": "run", "program": [("self_id",), ("store", SCRATCH, b"moved")]}]
        if self.pick.random() < 0.5:
            read: list[Step] = [("load", SCRATCH, 8)]
            calls.append({"fn": "run", "program": [("call", contract_id(name), 0, read, "run")], "gas": 10**7})
        failing = self.pick.random() < 0.2
        if failing:
            calls.append({"fn": "run", "program": [("trap",)]})
        self.op(
            "migrate",
            contract=contract_id(name).hex(),
            wasm=f"contracts/bin/{wasm}.wasm",
            id=self.pick.randbytes(32).hex(),
            calls=calls,
        )
        if failing:
            return self.open(self.sessions[self.session].base)
        self.here[name] = wasm.removesuffix("_init")  # surely there, unlike one whose `init` may have failed
        return self.write_all_scratch_pages(name)

    def commit(self) -> None:
        if not self.sessions[self.session].committable:
            return self.drop()
        name = self.commit_here()
        return self.open(name if self.pick.random() < 0.7 else self.any_commit())

    def commit_here(self) -> str:
        self.made += 1
        name = f"c{self.made}"
        self.op("commit", **{"as": name})
        self.commits[name] = dict(self.here)
        return name

    def any_commit(self) -> str | None:
        if not self.commits or self.pick.random() < 0.1:
            return None
        return self.pick.choice(sorted(self.commits))

    def open(self, base: str | None) -> None:
        """Opens a session in the place of the present one: on a named commit, or on nothing."""
        fields: dict[str, object] = {}
        if self.pick.random() < 0.5:
            fields["meta"] = {"height": self.pick.randrange(2**64)}
        if self.pick.random() < 0.3:
            fields["exclude"] = ["reverse"]
        if base is not None:
            fields["base"] = "$" + base
        self.op("session", **fields)
        self.sessions[self.session] = OpenSession(base, dict(self.commits[base]) if base else {})
        if base is None:
            for _ in range(3):
                self.deploy()

    def unknown_base(self) -> None:
        self.op("session", base=self.pick.randbytes(32).hex())
        self.open(self.any_commit())

    def switch(self) -> None:
        self.session = self.pick.choice(SESSIONS)
        if self.session not in self.sessions:
            self.open(self.any_commit())

    def drop(self) -> None:
        self.op("drop")
        self.open(self.any_commit())

    def reopen(self) -> None:
        """Opens the directory again, as another process would; all sessions are over."""
        if self.directory is None:
            return self.drop()
        self.op("vm", dir=self.directory)
        self.op("commits")
        self.sessions.clear()
        return self.open(self.any_commit())

    def delete(self) -> None:
        """Deletes a commit that nothing stands on, and whose state no other commit has."""
        if not self.sessions[self.session].committable:
            return self.drop()
        fresh = self.pick.randbytes(32).hex()
        self.op("deploy", wasm="contracts/bin/script.wasm", id=fresh, owner="")
        self.op("call", contract=fresh, fn="run", program=[("store", SCRATCH, bytes.fromhex(fresh))])
        base = self.any_commit()
        deleted = self.commit_here()
        del self.commits[deleted]
        self.open(base)
        self.op("delete", commit="$" + deleted)
        self.op("commits")
        self.op("session", base="$" + deleted)
        return self.open(base)

    def metadata(self) -> None:
        self.op("set_meta", name=self.pick.choice(("height", "", "é")), value=self.pick.randrange(2**64))
        self.op("meta", name=self.pick.choice(("height", "", "é", "none")))
        self.op("remove_meta", name=self.pick.choice(("height", "", "é", "none")))

    def look(self) -> None:
        name = self.pick.choice(("memory_len", "owner", "pages"))
        self.op(name, contract=self.contract())
        self.op(self.pick.choice(("root", "debug")))

    def list_commits(self) -> None:
        self.op("commits")

    def end(self) -> None:
        """Ends every session, and finalizes a commit: in the original it can't be used any more."""
        self.op("root")
        for name in sorted(self.sessions):
            self.session = name
            self.op("drop")
        self.op("commits")
        self.op("finalize", commit="$" + min(self.commits, default="none"))

    _turns: tuple[Callable[[ScenarioMaker], None], ...] = (
        call,
        failing_call,
        stack_overflow,
        feeder_call,
        deploy,
        refused_deploy,
        migrate,
        commit,
        unknown_base,
        switch,
        drop,
        reopen,
        delete,
        metadata,
        look,
        list_commits,
    )
    _weights = (37, 38, 2, 7, 4, 24, 9, 6, 3, 4, 2, 3, 6, 6, 17, 1)
