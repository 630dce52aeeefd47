"""`call` and `query`: contracts run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.arguments import values
from piecrust.cli.command import Outcome, settings
from piecrust.cli.contract_code import exported_functions
from piecrust.cli.execution import (
    GasLimit,
    HostQueries,
    Meta,
    Returns,
    TimeLimit,
    execution,
    logged,
    parse_metadata,
    saving,
)
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.host_queries import register_host_queries
from piecrust.cli.interfaces import function_in, result_type
from piecrust.cli.progress import waiting
from piecrust.cli.receipts import event_lines, gas_line, receipt_data, trace_lines, value_line
from piecrust.cli.working_state import opened_vm
from piecrust.objects import contract_map
from piecrust.objects.kinds import Kind
from piecrust.objects.revision import range_ends
from piecrust.vm.errors import ContractDoesNotExist, InvalidFunction
from piecrust.vm.limits import DEFAULT_GAS_LIMIT

if TYPE_CHECKING:
    from piecrust.cli.style import Style
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.ids import ContractId
    from piecrust.objects.state import State
    from piecrust.vm.receipt import Receipt
    from piecrust.vm.rkyv.types import RustType
    from piecrust.vm.vm import VM

Contract = Annotated[str, typer.Argument(metavar="CONTRACT", help="Alias, id, or prefix of an id.")]
Function = Annotated[str, typer.Argument(metavar="FUNCTION", help="A function that the contract exports.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="ARG", help="e.g. u64:5, hex:00ff, str:text, @FILE.")]
Trace = Annotated[bool, typer.Option("--trace", help="Show every frame with its gas.")]


def call(
    context: typer.Context,
    contract: Contract,
    function: Function,
    arguments: Words = None,
    *,
    returns: Returns = None,
    gas_limit: GasLimit = None,
    time_limit: TimeLimit = None,
    trace: Trace = False,
    feed: Annotated[bool, typer.Option("--feed", help="Accept what the contract feeds, and show it.")] = False,
    meta: Meta = None,
    host_queries: HostQueries = None,
) -> Outcome:
    """Call a contract; what it changes is in the working state then.

    A call that fails changes nothing, but is part of the history. Without `--returns`, and if the contract carries no
    interface, the result is shown in hex.

    Examples:
      piecrust call counter increment
      piecrust call token transfer hex:00ff u64:5 --returns bool --trace
    """
    style = settings(context).style
    fed: list[bytes] = []
    with execution(context, meta=meta, host_queries=host_queries) as run:
        target = run.at.contract(contract)
        described = function_in(run.at.interfaces.of(target), function)
        passed = values(arguments or [], described, run.at.contract)
        rust = result_type(described, returns)
        options: dict[str, Any] = {"feed": fed} if feed else {}
        method = run.session.feeder_call if feed else run.session.call
        operation = logged("call", contract, function, *(arguments or ()))
        with waiting(f"call {function}"), telling_functions(run.at, target, function), saving(run.session, operation):
            receipt = method(
                target,
                function,
                *passed,
                gas_limit=DEFAULT_GAS_LIMIT if gas_limit is None else gas_limit,
                time_limit=time_limit,
                returns=rust,
                **options,
            )
        lines = receipt_lines(run.at, receipt, rust, style, trace=trace)
        messages = list(run.session.debug_messages)
        told = receipt_data(receipt, rust, run.at.interfaces)
    data = {"contract": target, "function": function, **told, "fed": fed, "debug": messages}
    lines += [f"fed  {item.hex()}" for item in fed]
    return Outcome(data, lines, warnings=[f"the contract says: {message}" for message in messages])


def query(
    context: typer.Context,
    contract: Contract,
    function: Function,
    arguments: Words = None,
    *,
    revision: Annotated[
        str | None, typer.Option("--at", metavar="REV", help="On this revision; A..B asks both, side by side.")
    ] = None,
    returns: Returns = None,
    gas_limit: GasLimit = None,
    time_limit: TimeLimit = None,
    trace: Trace = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="With A..B: exit with 1 if they differ.")] = False,
    meta: Meta = None,
    host_queries: HostQueries = None,
) -> Outcome:
    """Call a contract and keep nothing: only the result is shown.

    Examples:
      piecrust query counter read_value --returns i64
      piecrust query counter read_value --returns i64 --at main~2..main
    """
    style = settings(context).style
    metadata = parse_metadata(meta)
    options: dict[str, Any] = {
        "gas_limit": DEFAULT_GAS_LIMIT if gas_limit is None else gas_limit,
        "time_limit": time_limit,
    }
    with opened_vm(context, read_only=True) as (at, vm):
        register_host_queries(vm, host_queries or [])
        ask = _Question(at, vm, contract, function, arguments or [], returns, metadata, options)
        if ".." not in (revision or ""):
            receipt, rust, target = ask.at_revision(revision)
            lines = [line] if (line := value_line(receipt, rust)) else []
            if trace:
                lines += [*trace_lines(receipt, at.label, style), gas_line(receipt, style)]
            told = receipt_data(receipt, rust, at.interfaces)
            return Outcome({"contract": target, "function": function, **told}, lines)
        left, right = range_ends(revision or "")
        sides = [ask.at_revision(left), ask.at_revision(right)]
        told_left, told_right = (receipt_data(receipt, rust, at.interfaces) for receipt, rust, _ in sides)
        frames = [trace_lines(receipt, at.label, style) if trace else [] for receipt, _, _ in sides]
    equal = sides[0][0].data == sides[1][0].data
    shown = [value_line(receipt, rust) for receipt, rust, _ in sides]
    data = {
        "equal": equal,
        "left": {"revision": left, **told_left},
        "right": {"revision": right, **told_right},
    }
    width = max(len(left), len(right))
    values_shown = shown if equal else [style.removed(shown[0]), style.added(shown[1])]
    lines = []
    for name, value, calls in zip((left, right), values_shown, frames, strict=True):
        lines += [f"{name:<{width}}  {value}".rstrip(), *(f"  {line}" for line in calls)]
    return Outcome(data, lines, ExitCode.NEGATIVE if exit_code and not equal else ExitCode.OK)


class _Question:
    """One query, to be asked on several revisions."""

    def __init__(
        self,
        at: WorkingState,
        vm: VM,
        contract: str,
        function: str,
        words: list[str],
        returns: str | None,
        metadata: dict[str, object],
        options: dict[str, Any],
    ) -> None:
        self._at, self._vm, self._contract, self._function = at, vm, contract, function
        self._words, self._returns, self._metadata, self._options = words, returns, metadata, options

    def at_revision(self, revision: str | None) -> tuple[Receipt[Any], RustType | None, bytes]:
        """The receipt, the result's type and the contract's id on a revision; on the working state for None."""
        at = self._at
        where: dict[str, Any] = {"draft": True} if revision is None else {"base": at.commit(revision)}
        state = at.state_at(revision)
        target = at.contract(self._contract, state)
        if contract_map.lookup(at.store, state.map_root, target) is None:
            missing = ContractDoesNotExist(target)
            missing.add_note(f"{at.label(target)} is not there at {revision or 'HEAD'}")
            raise missing
        described = function_in(at.interface(target, state), self._function)
        passed = values(self._words, described, lambda name: at.contract(name, state))
        rust = result_type(described, self._returns)
        with (
            waiting(f"query {self._function}"),
            telling_functions(at, target, self._function, state),
            self._vm.session(meta=self._metadata, **where) as session,
        ):
            receipt = session.query(target, self._function, *passed, returns=rust, **self._options)
        return receipt, rust, target


@contextmanager
def telling_functions(
    at: WorkingState, contract: ContractId, function: str, state: State | None = None
) -> Iterator[None]:
    """Say what the contract exports if it has no such function."""
    try:
        yield
    except InvalidFunction as error:
        record = contract_map.lookup(at.store, (state or at.current()).map_root, contract)
        if error.name == function and record is not None:
            exported = exported_functions(at.store.load(Kind.BYTECODE, record.bytecode))
            error.add_note(f"{at.label(contract)} exports {', '.join(exported) or 'nothing'}")
            near = get_close_matches(function, exported)
            if near:
                error.add_note(f"did you mean {near[0]}?")
        raise


def receipt_lines(
    at: WorkingState, receipt: Receipt[Any], rust: RustType | None, style: Style, *, trace: bool
) -> list[str]:
    """A receipt for people: result, events, frames, gas."""
    lines = [line] if (line := value_line(receipt, rust)) else []
    lines += event_lines(receipt.events, at.label, style, at.interfaces)
    if trace:
        lines += trace_lines(receipt, at.label, style)
    return [*lines, gas_line(receipt, style)]
