"""`deploy` and `migrate`: contracts come into the working state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.arguments import values
from piecrust.cli.command import Outcome, Settings, settings
from piecrust.cli.command_errors import UsageError
from piecrust.cli.configuration import default_owner
from piecrust.cli.contract_code import interface_of
from piecrust.cli.execution import GasLimit, HostQueries, Meta, execution, logged, saving
from piecrust.cli.progress import waiting
from piecrust.cli.receipts import event_lines, gas_line, receipt_data
from piecrust.cli.render import fields
from piecrust.cli.words import parse_contract_id, parse_hex, read_bytes
from piecrust.cli.working_state import alias_value
from piecrust.objects.ids import ContractId
from piecrust.objects.refs import ALIASES, RefValue
from piecrust.vm.abi_model import Raw
from piecrust.vm.limits import DEFAULT_GAS_LIMIT

if TYPE_CHECKING:
    from piecrust.cli.working_state import WorkingState
    from piecrust.vm.receipt import Receipt

WASM_BYTES_MAX = 64 << 20
ABI_SUFFIX = ".abi.json"  # of the interface beside a contract
Owner = Annotated[str | None, typer.Option("--owner", metavar="HEX", help="The contract's owner.")]
Init = Annotated[str | None, typer.Option("--init", metavar="VALUE", help="The argument of `init`, e.g. u64:5.")]


def deploy(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .wasm or .wat file, or a bundle.")],
    *,
    contract: Annotated[
        str | None, typer.Option("--contract", metavar="HEX", help="Which contract of a bundle (64 digits).")
    ] = None,
    alias: Annotated[str | None, typer.Option("--alias", metavar="NAME", help="A name for the contract.")] = None,
    owner: Owner = None,
    identifier: Annotated[
        str | None,
        typer.Option("--id", metavar="HEX", help="Its id (64 digits), by default the blake3 of the bytecode."),
    ] = None,
    init: Init = None,
    gas_limit: GasLimit = None,
    meta: Meta = None,
    host_queries: HostQueries = None,
) -> Outcome:
    """Deploy a contract into the working state, and run its `init` if it has one.

    From a bundle it is the code of a contract, under the id and for the owner that it has there, with a fresh memory.

    Examples:
      piecrust deploy counter.wasm --alias counter
      piecrust deploy token.wasm --alias token --owner 00ff --init 'u64:1000'
    """
    from piecrust.vm.bundles import is_bundle, read_contract
    from piecrust.vm.bytecode import default_contract_id

    current = settings(context)
    wanted = None if identifier is None else parse_contract_id(identifier)
    hints: Sequence[str] = []
    if contract is not None or is_bundle(file):
        record, wasm = read_contract(file, None if contract is None else parse_contract_id(contract))
        wanted, owner_bytes = wanted or record.id, record.owner if owner is None else parse_hex(owner)
    else:
        wasm = read_wasm(file)
        owner_bytes, hints = default_owner(current.environment) if owner is None else (parse_hex(owner), [])
    argument = init_argument(init, wasm)
    with execution(context, meta=meta, host_queries=host_queries) as run:
        check_alias_is_free(alias, run.at.aliases())
        # The id is known before the deployment, so the alias can be saved with it.
        contract_id = wanted or default_contract_id(wasm)
        refs: dict[str, RefValue | None] = {} if alias is None else {ALIASES + alias: alias_value(contract_id)}
        with waiting("deploy"), saving(run.session, logged("deploy", Path(file).name, alias), refs):
            deployed, receipt = run.session.deploy(
                wasm,
                owner_bytes,
                contract_id=wanted,
                init=argument,
                gas_limit=DEFAULT_GAS_LIMIT if gas_limit is None else gas_limit,
            )
        told = None if receipt is None else receipt_data(receipt, None, run.at.interfaces)
        ran = _receipt_lines(receipt, run.at, current)
    data = {"contract": deployed, "alias": alias, "owner": owner_bytes, "receipt": told}
    if Path(file).with_suffix(ABI_SUFFIX).exists() and interface_of(wasm) is None:
        hints = [*hints, f"piecrust abi attach {file} {Path(file).with_suffix(ABI_SUFFIX)} -o FILE   (and deploy that)"]
    lines = fields(
        {"contract": current.style.contract(deployed.hex()), "alias": alias or "", "owner": owner_bytes.hex()}
    )
    lines = [line for line in lines if line != "alias"]
    return Outcome(data, [*lines, *ran], hints=hints)


def migrate(
    context: typer.Context,
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="The contract to replace.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new bytecode, .wasm or .wat.")],
    *,
    owner: Owner = None,
    init: Init = None,
    call: Annotated[
        str | None,
        typer.Option(
            "--call", metavar="FUNCTION", help="Call this function of the new contract, with the old one there."
        ),
    ] = None,
    argument: Annotated[
        str | None, typer.Option("--argument", metavar="VALUE", help="What `--call` passes, e.g. u64:5.")
    ] = None,
    gas_limit: GasLimit = None,
    host_queries: HostQueries = None,
) -> Outcome:
    """Replace a contract's code; its id, and its owner unless another is given, stay.

    The new contract starts with a memory of its own. `--call` lets it fetch what it needs from the old one, which is
    there until the migration ends.

    Examples:
      piecrust migrate counter counter2.wasm
      piecrust migrate token token2.wasm --call import_balances
    """
    wasm = read_wasm(file)
    owner_bytes = None if owner is None else parse_hex(owner)
    limit = DEFAULT_GAS_LIMIT if gas_limit is None else gas_limit
    passed = [] if argument is None else values([argument])
    with execution(context, meta=None, host_queries=host_queries) as run:
        target = run.at.contract(contract)

        def fill(new: ContractId, session: Any) -> None:
            if call is not None:
                session.call(new, call, *passed, gas_limit=limit)

        with waiting("migrate"):
            meanwhile = run.session.migrate(
                target, wasm, fill, owner=owner_bytes, init=init_argument(init, wasm), gas_limit=limit
            )
        run.session.save_draft(logged("migrate", contract, Path(file).name))
        label = run.at.label(target)
    return Outcome(
        {"contract": target, "id_during_migration": meanwhile},
        [f"{settings(context).style.contract(label)} has new code"],
    )


def read_wasm(path: str) -> bytes:
    """A contract's bytecode from a file: as it is, or assembled from the text of a .wat file.

    Raises:
        FileProblem: it cannot be read.
        UsageError: it is too large.
    """
    data = read_bytes(path, WASM_BYTES_MAX)
    if not path.endswith(".wat"):
        return data
    from piecrust.vm.engine import to_wasm

    return to_wasm(data.decode(errors="replace"))


def check_alias_is_free(alias: str | None, aliases: Mapping[str, ContractId]) -> None:
    """Refuse a name that a contract has.

    Raises:
        UsageError: one has.
    """
    if alias is not None and alias in aliases:
        raise UsageError(
            f"the alias {alias!r} is taken by {aliases[alias].short()}", hints=[f"piecrust alias --delete {alias}"]
        )


def init_argument(text: str | None, wasm: bytes) -> object:
    """The argument of `init`, by the type that is written or that the contract's interface gives.

    Raises:
        UsageError: it is none of that type, or the interface wants one and there is none.
    """
    interface = interface_of(wasm)
    described = None if interface is None else interface.init
    if text is not None:
        return values([text], described)[0]
    if described is not None and not isinstance(described.arguments, Raw) and described.arguments:
        wanted = ", ".join(f"{argument.name}: {argument.type}" for argument in described.arguments)
        raise UsageError(f"init takes {wanted}", hints=["--init VALUE"])
    return None


def _receipt_lines(receipt: Receipt[Any] | None, at: WorkingState, current: Settings) -> list[str]:
    if receipt is None:
        return []
    events = event_lines(receipt.events, at.label, current.style, at.interfaces)
    return [*events, f"init  {gas_line(receipt, current.style)}"]
