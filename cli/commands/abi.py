"""`abi`: the interface that a contract carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from piecrust.cli.command import Outcome, PiecrustCommand, settings
from piecrust.cli.command_errors import FileProblem, Missing
from piecrust.cli.commands.deploy import read_wasm
from piecrust.cli.contract_code import exported_functions, interface_of
from piecrust.cli.words import read_bytes
from piecrust.cli.working_state import opened
from piecrust.objects import contract_map
from piecrust.objects.kinds import Kind
from piecrust.vm import abi as interfaces
from piecrust.vm.abi_model import Abi, Function
from piecrust.vm.errors import ContractDoesNotExist

WASM_SUFFIXES = (".wasm", ".wat")

abi = typer.Typer(
    help="The interface that a contract carries: types of arguments and results, events, values in memory.\n\n"
    "docs/abi.md describes the document.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@abi.command("show", cls=PiecrustCommand)
def abi_show(
    context: typer.Context,
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="A contract, or a .wasm file.")],
) -> Outcome:
    """Print the interface of a contract.

    Examples:
      piecrust abi show counter
      piecrust abi show counter.wasm
    """
    wasm = read_wasm(contract) if contract.endswith(WASM_SUFFIXES) else _bytecode(context, contract)
    interface = interface_of(wasm)
    if interface is None:
        exported = ", ".join(exported_functions(wasm))
        raise Missing(f"{contract} carries no interface", details=[f"it exports {exported}"] if exported else [])
    style = settings(context).style
    lines = [style.heading(interface.name)] if interface.name else []
    for function in _functions(interface):
        mark = style.faint(" (query)") if function.query else ""
        lines.append(f"{function}{mark}")
        lines += [style.faint(f"    {line}") for line in function.doc.splitlines()]
    lines += [f"event {event.topic}" for event in interface.events.values()]
    lines += [f"value {value.name}: {value.codec.type} at {_place(value)}" for value in interface.values.values()]
    lines += [f"scratch {span.address:#x} to {span.address + span.length:#x}" for span in interface.scratch]
    return Outcome({"contract": contract, "interface": _data(interface)}, lines, paged=True)


@abi.command("attach", cls=PiecrustCommand)
def abi_attach(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The contract, .wasm or .wat.")],
    document: Annotated[str, typer.Argument(metavar="FILE", help="The interface, in JSON.")],
    *,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where the contract with it goes.")],
) -> Outcome:
    """Write a contract with an interface in it, in place of another that it had.

    Its bytecode changes by that, and so does the id that is made from it.

    Examples:
      piecrust abi attach counter.wasm counter.abi.json -o counter.wasm
    """
    wasm = interfaces.attach(read_wasm(file), interfaces.parse(read_bytes(document)))
    try:
        Path(output).write_bytes(wasm)
    except OSError as error:
        raise FileProblem(output, error) from None
    functions = [str(function) for function in _functions(_carried(wasm))]
    return Outcome({"file": output, "bytes": len(wasm), "functions": functions}, [f"{output}: {len(wasm):,} bytes"])


def _carried(wasm: bytes) -> Abi:
    found = interface_of(wasm)
    assert found is not None, "an interface was just attached"
    return found


def _bytecode(context: typer.Context, name: str) -> bytes:
    with opened(context, read_only=True) as at:
        identifier = at.contract(name)
        record = contract_map.lookup(at.store, at.current().map_root, identifier)
        if record is None:
            raise ContractDoesNotExist(identifier)
        return bytes(at.store.load(Kind.BYTECODE, record.bytecode))


def _functions(interface: Abi) -> list[Function]:
    return [*([interface.init] if interface.init is not None else []), *interface.functions.values()]


def _place(value: interfaces.NamedValue) -> str:
    return value.symbol or "?" if value.address is None else f"{value.address:#x}"


def _data(interface: Abi) -> dict[str, Any]:
    return {
        "name": interface.name,
        "doc": interface.doc,
        "functions": [{"name": f.name, "text": str(f), "query": f.query, "doc": f.doc} for f in _functions(interface)],
        "events": [event.topic for event in interface.events.values()],
        "values": [
            {"name": v.name, "type": str(v.codec.type), "address": v.address} for v in interface.values.values()
        ],
        "scratch": [{"address": span.address, "length": span.length} for span in interface.scratch],
    }
