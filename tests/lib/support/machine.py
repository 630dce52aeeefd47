"""Performs the operations of fixtures/reference/README.md on this project's VM.

The answers have the form that the driver of the original gives them, so that both can be compared field by field.
Commits are named by their state roots there, and states with equal roots are one commit, the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import blake3
from piecrust import VM
from piecrust.objects.errors import PiecrustError
from piecrust.objects.ids import CommitId, ContractId
from piecrust.vm.abi import extract
from piecrust.vm.errors import SessionClosed
from piecrust.vm.receipt import Receipt
from piecrust.vm.session import Session
from piecrust.vm.values import Encoded

from support.answers import Answer, Operation, failure, message, receipt_answer
from support.fixtures import REFERENCE

MAIN_SESSION = "main"
DEFAULT_GAS = 1_000_000_000


class Priced:
    """A host query that gives its argument back, for a price per byte."""

    def __init__(self, per_byte: int = 0, fixed: int = 0) -> None:
        self.per_byte = per_byte
        self.fixed = fixed

    def price(self, argument: bytes) -> int:
        return self.fixed + self.per_byte * len(argument)

    def execute(self, argument: bytes) -> bytes:
        return argument


class QueryPanic(Exception):
    """What the failing host queries raise; it comes out of a call in sessions that don't contain it."""


class PanickingPrice(Priced):
    def price(self, argument: bytes) -> int:
        raise QueryPanic("the price panicked")


def panicking(argument: bytes) -> bytes:
    raise QueryPanic("the query panicked")


QUERIES = {
    "identity": Priced(),
    "reverse": lambda argument: argument[::-1],
    "priced": Priced(per_byte=100),
    "huge_price": Priced(fixed=2**63 - 1),
    "panicking": panicking,
    "panicking_price": PanickingPrice(),
}


class BadRequest(Exception):
    """The operation names something that is not there; it never reaches the VM."""


class Machine:
    """A VM and its sessions. `@NAME` in operations is a directory below `folder`."""

    def __init__(self, folder: Path, code_cache: Path | None = None) -> None:
        self._folder = folder
        self._code_cache = code_cache
        self._vm: VM | None = None
        self._sessions: dict[str, Session] = {}
        self._labels: dict[str, ContractId] = {}
        self._bytecode: dict[ContractId, bytes] = {}
        self._made: dict[str, dict[str, CommitId]] = {}  # by directory, then by root
        self._commits: dict[str, CommitId] = {}

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        if self._vm is not None:
            self._vm.close()

    def perform(self, operation: Operation) -> Answer:
        """The answer to one operation; an error of the VM is an answer, too."""
        try:
            return self._operations[operation["op"]](self, operation)
        except BadRequest as error:
            return failure("BadRequest", str(error))
        except SessionClosed:
            self._forget(operation)
            return failure("BadRequest", "no session is open")
        except QueryPanic as error:
            return failure("HostPanic", str(error))
        except PiecrustError as error:
            return failure(error.kind or type(error).__name__, message(error))

    # What operations name.

    @property
    def vm(self) -> VM:
        if self._vm is None:
            raise BadRequest("no VM is open")
        return self._vm

    def _session(self, operation: Operation) -> Session:
        name = operation.get("in", MAIN_SESSION)
        if name not in self._sessions:
            raise BadRequest("no session is open")
        return self._sessions[name]

    def _forget(self, operation: Operation) -> Session:
        session = self._session(operation)
        del self._sessions[operation.get("in", MAIN_SESSION)]
        return session

    def _contract_named(self, name: str) -> ContractId:
        if name in self._labels:
            return self._labels[name]
        try:
            return ContractId.from_hex(name)
        except PiecrustError as error:
            raise BadRequest(f'no contract "{name}"') from error

    def _contract(self, operation: Operation) -> ContractId:
        return self._contract_named(operation["contract"])

    def _commit(self, root: str) -> CommitId | str:
        return self._commits.get(root, f"root:{root}")

    # The operations.

    def note(self, operation: Operation) -> Answer:
        return {}

    def open_vm(self, operation: Operation) -> Answer:
        self.close()
        self._vm = None
        directory = operation.get("dir")
        if directory is None:
            self._vm = VM.ephemeral(cache_directory=self._code_cache)
            self._commits = {}
        else:
            path = self._folder / directory.removeprefix("@")
            self._vm = VM(path, cache_directory=self._code_cache, sync=False)
            self._commits = self._made.setdefault(directory, {})
        for name, query in QUERIES.items():
            self._vm.register_host_query(name, query)
        return {}

    def _root_of(self, commit: CommitId) -> str:
        return self.vm.commit_info(commit).state_root.hex()

    def open_session(self, operation: Operation) -> Answer:
        name = operation.get("in", MAIN_SESSION)
        if name in self._sessions:
            self._sessions.pop(name).close()
        base = operation.get("base")
        self._sessions[name] = self.vm.session(
            base=None if base is None else self._commit(base),
            meta={key: u64(value) for key, value in operation.get("meta", {}).items()},
            exclude_host_queries=operation.get("exclude", ()),
            contain_host_query_failures=operation.get("contain_hq_panics", True),
        )
        return {}

    def drop(self, operation: Operation) -> Answer:
        self._forget(operation).close()
        return {}

    def deploy(self, operation: Operation) -> Answer:
        bytecode, init = wasm(operation), optional_bytes(operation, "init")
        identity, receipt = self._session(operation).deploy(
            bytecode,
            owner=optional_bytes(operation, "owner"),
            contract_id=optional_id(operation),
            init=None if init is None else Encoded(init),
            gas_limit=gas(operation),
        )
        self._bytecode[identity] = bytecode
        if "as" in operation:
            self._labels[operation["as"]] = identity
        return {"id": identity.hex(), "receipt": receipt and receipt_answer(raw(receipt, bytecode, "init"))}

    def call(self, operation: Operation) -> Answer:
        contract = self._contract(operation)
        session = self._session(operation)
        return receipt_answer(session.call_raw(contract, *arguments(operation), gas_limit=gas(operation)))

    def feeder_call(self, operation: Operation) -> Answer:
        contract = self._contract(operation)
        fed: list[bytes] = []
        try:
            function, argument = arguments(operation)
            receipt = self._session(operation).feeder_call(
                contract, function, Encoded(argument), feed=fed.append, gas_limit=gas(operation)
            )
            answer = receipt_answer(raw(receipt, self._bytecode[contract], function))
        except PiecrustError as error:
            answer = failure(error.kind, message(error))
        return {**answer, "fed": [data.hex() for data in fed]}

    def migrate(self, operation: Operation) -> Answer:
        new: list[ContractId] = []
        receipts: list[Answer] = []

        def migration(identity: ContractId, session: Session) -> None:
            new.append(identity)
            for call in operation.get("calls", ()):
                name = call.get("contract", "new")
                target = identity if name == "new" else self._contract_named(name)
                receipt = session.call_raw(target, *arguments(call), gas_limit=gas(call))
                receipts.append(receipt_answer(receipt))

        self._session(operation).migrate(
            self._contract(operation),
            wasm(operation),
            migration,
            owner=optional_bytes(operation, "owner"),
            contract_id=optional_id(operation),
            gas_limit=gas(operation),
        )
        return {"new": new[0].hex(), "calls": receipts}

    def root(self, operation: Operation) -> Answer:
        return {"root": self._session(operation).root().hex()}

    def commit(self, operation: Operation) -> Answer:
        commit = self._forget(operation).commit()
        root = self._root_of(commit)
        self._commits.setdefault(root, commit)
        return {"root": root}

    def commits(self, operation: Operation) -> Answer:
        return {"commits": sorted({self._root_of(commit) for commit in self.vm.commits()})}

    def delete(self, operation: Operation) -> Answer:
        root = operation["commit"]
        for commit in self.vm.commits():
            if self._root_of(commit) == root:
                self.vm.delete_commit(commit)
                self._commits.pop(root, None)
        return {}

    def finalize(self, operation: Operation) -> Answer:
        root = operation["commit"]
        for commit in self.vm.commits():
            if self._root_of(commit) == root:
                self.vm.finalize_commit(commit)
        return {}

    def meta(self, operation: Operation) -> Answer:
        return {"value": hexadecimal(self._session(operation).meta(operation["name"]))}

    def set_meta(self, operation: Operation) -> Answer:
        session = self._session(operation)
        previous = session.set_meta(operation["name"], u64(operation["value"]))
        return {"previous": hexadecimal(previous)}

    def remove_meta(self, operation: Operation) -> Answer:
        return {"previous": hexadecimal(self._session(operation).remove_meta(operation["name"]))}

    def memory_len(self, operation: Operation) -> Answer:
        contract = self._contract(operation)
        return {"len": self._session(operation).memory_len(contract)}

    def pages(self, operation: Operation) -> Answer:
        contract = self._contract(operation)
        session = self._session(operation)
        pages = session.memory_pages(contract)
        if pages is None:
            return {"pages": None}
        root = session.root()
        return {
            "pages": [
                [index, blake3.blake3(page).hexdigest() if opening.verify(page) and opening.root == root else None]
                for index, page, opening in pages
            ]
        }

    def owner(self, operation: Operation) -> Answer:
        contract = self._contract(operation)
        metadata = self._session(operation).contract_metadata(contract)
        if metadata is None:
            return {"id": None, "owner": None}
        return {"id": metadata.id.hex(), "owner": metadata.owner.hex()}

    def debug(self, operation: Operation) -> Answer:
        return {"messages": list(self._session(operation).debug_messages)}

    _operations: ClassVar[dict[object, Callable[[Machine, Operation], Answer]]] = {
        "note": note,
        "vm": open_vm,
        "session": open_session,
        "drop": drop,
        "deploy": deploy,
        "call": call,
        "feeder_call": feeder_call,
        "migrate": migrate,
        "root": root,
        "commit": commit,
        "commits": commits,
        "delete": delete,
        "finalize": finalize,
        "meta": meta,
        "set_meta": set_meta,
        "remove_meta": remove_meta,
        "memory_len": memory_len,
        "pages": pages,
        "owner": owner,
        "debug": debug,
    }


def wasm(operation: Operation) -> bytes:
    return (REFERENCE / operation["wasm"]).read_bytes()


def gas(operation: Operation) -> int:
    return operation.get("gas", DEFAULT_GAS)


def arguments(operation: Operation) -> tuple[str, bytes]:
    return operation["fn"], bytes.fromhex(operation.get("arg", ""))


def optional_bytes(operation: Operation, name: str) -> bytes | None:
    return bytes.fromhex(operation[name]) if name in operation else None


def optional_id(operation: Operation) -> ContractId | None:
    return ContractId.from_hex(operation["id"]) if "id" in operation else None


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def hexadecimal(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def raw(receipt: Receipt[object], bytecode: bytes, function: str) -> Receipt[bytes]:
    """The receipt with its data as bytes again, where the contract's interface has made a value of it."""
    interface = extract(bytecode)
    if interface is None:
        return receipt
    described = interface.init if function == "init" else interface.function(function)
    return replace(receipt, data=described.returns.encode(receipt.data))
