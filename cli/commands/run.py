"""`run`: a file of deploys and calls, in one session and with one commit."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.arguments import values
from piecrust.cli.command import Outcome, Settings, settings
from piecrust.cli.command_errors import UsageError
from piecrust.cli.commands.deploy import check_alias_is_free, init_argument, read_wasm
from piecrust.cli.configuration import default_owner
from piecrust.cli.contract_code import interface_of
from piecrust.cli.execution import (
    Execution,
    HostQueries,
    Meta,
    execution,
    logged,
    metadata_value,
)
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.interfaces import function_in, result_type
from piecrust.cli.progress import progress
from piecrust.cli.receipts import event_lines, gas_line, receipt_data, value_line
from piecrust.cli.words import parse_contract_id, parse_hex, read_bytes
from piecrust.cli.working_state import alias_value
from piecrust.objects.ids import ContractId
from piecrust.objects.refs import ALIASES, RefValue
from piecrust.vm.limits import DEFAULT_GAS_LIMIT

if TYPE_CHECKING:
    from piecrust.vm.receipt import Receipt

FILE_BYTES_MAX = 64 << 20
STDIN = "-"
KEYS = {
    "deploy": {"deploy", "alias", "owner", "id", "init", "gas_limit"},
    "call": {"call", "function", "args", "returns", "gas_limit", "expect"},
    "query": {"query", "function", "args", "returns", "gas_limit", "expect"},
    "meta": {"meta"},
}


def run(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Steps as JSON lines, or TOML if it ends with .toml; - is stdin.")
    ],
    *,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="The commit's message.")
    ] = None,
    no_commit: Annotated[bool, typer.Option("--no-commit", help="Leave it in the working state.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Keep nothing.")] = False,
    meta: Meta = None,
    host_queries: HostQueries = None,
) -> Outcome:
    """Execute a file of deploys and calls in one session, and commit once.

    If a step fails, or its result is not the expected one, nothing is kept. A line of JSON, or a table `[[step]]` of
    TOML, is one step:

      {"deploy": "counter.wasm", "alias": "counter", "owner": "00ff", "init": "u64:5"}
      {"call": "counter", "function": "increment", "args": ["u64:5"]}
      {"query": "counter", "function": "read_value", "returns": "i64", "expect": "i64:253"}
      {"meta": {"block_height": "u64:7"}}

    Examples:
      piecrust run genesis.jsonl -m genesis
      piecrust run check.toml --dry-run
      ./make-steps | piecrust run -
    """
    current = settings(context)
    steps = read_steps(file)
    done: list[dict[str, Any]] = []
    lines: list[str] = []
    with execution(context, meta=meta, host_queries=host_queries) as execution_, progress("run") as bar:
        script = Script(execution_, current, Path(file).parent)
        for number, step in enumerate(steps, 1):
            bar.update(number - 1, len(steps))
            try:
                data, shown = script.execute(step)
            except UsageError as error:
                error.args = (f"step {number}: {error}",)
                raise
            except Exception as error:
                error.add_note(f"in step {number} of {file}")
                raise
            done.append(data)
            lines += [f"{current.style.faint(f'{number:>3}')} {line}" for line in shown]
        data = {"steps": done, "commit": None, "state_root": execution_.session.root()}
        operation = logged("run", Path(file).name)
        if dry_run:
            lines.append("nothing was kept")
        elif no_commit:
            execution_.session.save_draft(operation, refs=script.refs)
        else:
            made = execution_.session.commit(message, operation=operation, refs=script.refs)
            data["commit"] = made
            lines.append(f"committed as {current.style.commit(made.short())}")
    lines.append(f"state root {current.style.root(data['state_root'].hex())}")
    return Outcome(data, lines)


def read_steps(path: str) -> list[Mapping[str, Any]]:
    """The steps of a file.

    Raises:
        FileProblem: it cannot be read.
        UsageError: it is no JSON lines or TOML, or a step is none.
    """
    data = sys.stdin.buffer.read(FILE_BYTES_MAX) if path == STDIN else read_bytes(path, FILE_BYTES_MAX)
    try:
        text = data.decode()
        if path.endswith(".toml"):
            found = tomllib.loads(text).get("step", [])
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the steps in {path!r}: {error}") from None
    if not isinstance(found, list):
        raise UsageError(f"{path!r} has no list of steps", hints=["[[step]]   (once for each step)"])
    for number, step in enumerate(found, 1):
        kind = _kind(step)
        unknown = set(step) - KEYS[kind] if kind is not None else set()
        if kind is None or unknown:
            what = f"does not know {', '.join(sorted(unknown))}" if unknown else "is no deploy, call, query or meta"
            hints = ['{"call": "counter", "function": "increment"}   (see piecrust run --help)']
            raise UsageError(f"step {number} {what}: {json.dumps(step, default=str)[:80]}", hints=hints)
    return found


def _kind(step: object) -> str | None:
    if not isinstance(step, dict):
        return None
    kinds = [kind for kind in KEYS if kind in step]
    return kinds[0] if len(kinds) == 1 else None


class Script:
    """Steps on a session; `refs` are the aliases that they gave."""

    def __init__(self, execution_: Execution, current: Settings, folder: Path) -> None:
        self.refs: dict[str, RefValue | None] = {}
        self._run, self._current, self._folder = execution_, current, folder
        self._aliases = dict(execution_.at.aliases())

    def execute(self, step: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Do one step; what it gave, for the envelope and for people."""
        match _kind(step):
            case "deploy":
                return self._deploy(step)
            case "meta":
                return self._meta(step)
            case kind:
                return self._call(step, str(kind))

    def _deploy(self, step: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        from piecrust.vm.bytecode import default_contract_id

        alias = _text(step, "alias", default="")
        check_alias_is_free(alias, self._aliases)
        wasm = read_wasm(str(self._folder / _text(step, "deploy")))
        owner = _text(step, "owner", default="")
        wanted = _text(step, "id", default="")
        contract = parse_contract_id(wanted) if wanted else default_contract_id(wasm)
        init = step.get("init")
        _, receipt = self._run.session.deploy(
            wasm,
            parse_hex(owner) if owner else default_owner(self._current.environment)[0],
            contract_id=contract,
            init=init_argument(None if init is None else str(init), wasm),
            gas_limit=_gas_limit(step),
        )
        if alias:
            self.refs[ALIASES + alias] = alias_value(contract)
            self._aliases[alias] = contract
        interfaces = self._run.at.interfaces
        interfaces.add(contract, interface_of(wasm))
        told = None if receipt is None else receipt_data(receipt, None, interfaces)
        data = {"deploy": contract, "receipt": told}
        return data, [f"deploy {self._current.style.contract(alias or contract.short())}"]

    def _contract(self, name: str) -> ContractId:
        return self._aliases.get(name) or self._run.at.contract(name)

    def _meta(self, step: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        values_by_name = step["meta"]
        if not isinstance(values_by_name, dict):
            raise UsageError("meta takes a table of names and values")
        for name, value in values_by_name.items():
            self._run.session.set_meta(str(name), metadata_value(str(value)))
        return {"meta": {k: str(v) for k, v in values_by_name.items()}}, [f"meta {', '.join(values_by_name)}"]

    def _call(self, step: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], list[str]]:
        name, function = _text(step, kind), _text(step, "function")
        contract = self._contract(name)
        interfaces = self._run.at.interfaces
        described = function_in(interfaces.of(contract), function)
        words = step.get("args", [])
        if not isinstance(words, list):
            raise UsageError("args takes a list of words", hints=['"args": ["u64:5"]'])
        passed = values([str(word) for word in words], described, self._contract)
        rust = result_type(described, _text(step, "returns", default="") or None)
        method = self._run.session.query if kind == "query" else self._run.session.call
        receipt: Receipt[Any] = method(contract, function, *passed, gas_limit=_gas_limit(step), returns=rust)
        shown = value_line(receipt, rust)
        _check(step, shown)
        style = self._current.style
        lines = [f"{kind} {style.contract(name)} {function} {shown}".rstrip() + f"  {gas_line(receipt, style)}"]
        label = self._run.at.label
        data = {kind: contract, "function": function, **receipt_data(receipt, rust, interfaces)}
        return data, [*lines, *event_lines(receipt.events, label, style, interfaces)]


def _check(step: Mapping[str, Any], shown: str) -> None:
    """Compare a result with what the step expects: a typed value, `hex:` bytes, or the text that is shown."""
    if "expect" not in step:
        return
    expected = str(step["expect"])
    if shown not in (expected, expected.rpartition(":")[2]):
        raise ExpectationFailed(f"the result is {shown}, not {expected}")


class ExpectationFailed(UsageError):
    """A step gave another result than its file says."""

    exit_code = ExitCode.NEGATIVE


def _text(step: Mapping[str, Any], key: str, *, default: str | None = None) -> str:
    value = step.get(key, default)
    if not isinstance(value, str):
        raise UsageError(f"{key} is missing" if value is None else f"{key} must be text")
    return value


def _gas_limit(step: Mapping[str, Any]) -> int:
    limit = step.get("gas_limit", DEFAULT_GAS_LIMIT)
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise UsageError("gas_limit must be a whole number")
    return limit
