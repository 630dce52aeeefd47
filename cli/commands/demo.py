"""`demo`: the whole model in one minute, on a counter contract."""

from __future__ import annotations

import shlex
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.changes import changed_contracts
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import CommandError, UsageError
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.render import count
from piecrust.cli.working_state import STORE_DIRECTORY, WorkingState, alias_value, select_implementations
from piecrust.objects.diff import diff_bytes
from piecrust.objects.ids import StateRoot
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import ALIASES, BRANCHES, Symbolic
from piecrust.vm.workspace import Workspace

if TYPE_CHECKING:
    from piecrust.cli.style import Style
    from piecrust.objects.ids import CommitId, ContractId
    from piecrust.vm.vm import VM

OWNER = bytes(32)
KNOWN_ROOT = StateRoot.from_hex("74b6ae035394844ec2d2a9358150f8df01dfb038754c4e1167eeb42192eda142")
"""The state root after the demo's last commit; the original VM gives the same for the same calls."""


class UnexpectedRoot(CommandError):
    """The demo's state root is not the one that every machine gets."""

    exit_code = ExitCode.NEGATIVE


def demo(
    context: typer.Context,
    *,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="DIR", help="Make the store in DIR and leave it there.")
    ] = None,
) -> Outcome:
    """Show the whole model on a counter contract: deploy, call, commit, branch, look back, compare.

    Examples:
      piecrust demo
      piecrust demo --keep playground
    """
    current = settings(context)
    select_implementations(current.environment)
    cache = current.environment.get("PIECRUST_CACHE") or None
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="piecrust-demo-") as directory:
            return _Demo(Path(directory), current.style, cache).run([])
    target = Path(keep)
    if (target / STORE_DIRECTORY).exists():
        raise UsageError(f"there is a store in {keep!r} already", hints=["piecrust demo --keep ANOTHER"])
    return _Demo(target, current.style, cache).run([f"cd {shlex.quote(keep)} && piecrust log --graph"])


class _Demo:
    """The demo in a directory; every step says which command does the same."""

    def __init__(self, directory: Path, style: Style, cache: str | None) -> None:
        self._directory, self._style, self._cache = directory, style, cache
        self._lines: list[str] = []

    def run(self, hints: list[str]) -> Outcome:
        """Do it all; the state root at the end is checked."""
        from piecrust.vm.vm import VM

        self._directory.mkdir(parents=True, exist_ok=True)
        wasm = (resources.files("piecrust.cli") / "demo" / "counter.wasm").read_bytes()
        self._say("piecrust init", "A store is a directory; its branches name commits.")
        with VM(self._directory, cache_directory=self._cache) as vm:
            Workspace(vm.store).start()
            at = WorkingState(vm.store)
            counter = self._deploy(vm, wasm)
            first = self._count(vm, counter, 1, "count to 253")
            second = self._count(vm, counter, 2, "count to 255")
            self._look_back(at, vm, counter, first)
            third = self._branch(at, vm, counter, first)
            self._compare(at, second, third)
            root = at.state(third).state_root
        return self._verdict(root, {"first": first, "second": second, "third": third, "counter": counter}, hints)

    def _deploy(self, vm: VM, wasm: bytes) -> ContractId:
        with vm.session(draft=True) as session:
            counter, _ = session.deploy(wasm, OWNER)
            session.save_draft(
                Operation("deploy", ("counter.wasm", "counter")), refs={ALIASES + "counter": alias_value(counter)}
            )
        self._say(
            "piecrust deploy counter.wasm --alias counter",
            f"The contract is {self._style.contract(counter.short())}, the hash of its code.",
        )
        return counter

    def _count(self, vm: VM, counter: ContractId, times: int, message: str) -> CommitId:
        gas = 0
        for _ in range(times):
            with vm.session(draft=True) as session:
                gas += session.call(counter, "increment").gas_spent
                session.save_draft(Operation("call", ("counter", "increment")))
            self._say("piecrust call counter increment")
        self._say(None, f"{count(times, 'call')} spent {gas:,} gas.")
        with vm.session(draft=True) as session:
            value = session.query(counter, "read_value").data
            self._say("piecrust query counter read_value", str(value))
            commit = session.commit(message, operation=Operation("commit", (message,)))
        root = WorkingState(vm.store).state(commit).state_root
        self._say(
            f"piecrust commit -m {shlex.quote(message)}",
            f"Commit {self._style.commit(commit.short())}, state root {self._style.root(root.hex())}",
        )
        return commit

    def _look_back(self, at: WorkingState, vm: VM, counter: ContractId, first: CommitId) -> None:
        at.workspace.move(first, Operation("checkout", ("main~1",)))
        with vm.session(draft=True) as session:
            value = session.query(counter, "read_value").data
        self._say("piecrust checkout main~1", "Every commit can be opened again:")
        self._say("piecrust query counter read_value", str(value))

    def _branch(self, at: WorkingState, vm: VM, counter: ContractId, first: CommitId) -> CommitId:
        at.workspace.move(Symbolic(BRANCHES + "side"), Operation("switch", ("-c", "side")), create=first)
        self._say("piecrust switch -c side", "A branch begins here.")
        commit = self._count(vm, counter, 1, "count to 254")
        at.workspace.move(Symbolic(BRANCHES + "main"), Operation("switch", ("main",)))
        self._say("piecrust switch main")
        return commit

    def _compare(self, at: WorkingState, second: CommitId, third: CommitId) -> None:
        self._say("piecrust diff main..side --bytes")
        for change in changed_contracts(at.store, at.state(second), at.state(third)):
            self._say(None, f"{at.label(change.id)} differs in {count(len(change.pages), 'page')}:")
            for page in change.pages:
                for run in diff_bytes(at.store, page):
                    old, new = self._style.removed(run.old.hex()), self._style.added(run.new.hex())
                    self._say(None, f"  byte {run.offset:#x} of its memory: {old} -> {new}")

    def _verdict(self, root: StateRoot, found: dict[str, Any], hints: list[str]) -> Outcome:
        if root != KNOWN_ROOT:
            raise UnexpectedRoot(f"the state root is {root.hex()}, every other machine gets {KNOWN_ROOT.hex()}")
        self._say(None, f"The state root of side is {self._style.root(root.hex())},")
        self._say(None, self._style.added("the same as on every other machine, and as the original VM's."))
        return Outcome({**found, "state_root": root, "as_expected": True}, self._lines, hints=hints)

    def _say(self, command: str | None, text: str | None = None) -> None:
        if command is not None:
            self._lines.append(self._style.heading(f"$ {command}"))
        if text is not None:
            self._lines.append(text)
