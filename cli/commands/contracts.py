"""`contracts`, `memory` and `root`: what a state holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.changes import read_memory
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import UsageError
from piecrust.cli.contract_code import exported_functions
from piecrust.cli.envelope import u64
from piecrust.cli.output_file import output_file
from piecrust.cli.render import count, hex_dump, size, table
from piecrust.cli.working_state import opened
from piecrust.objects import contract_map, tree
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES
from piecrust.vm.errors import ContractDoesNotExist

if TYPE_CHECKING:
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.record import ContractRecord

SHOWN_BYTES_MAX = 1 << 16
READ_BYTES_MAX = 1 << 30
Revision = Annotated[
    str | None, typer.Option("--at", metavar="REV", help="Of this revision; by default of the working state.")
]


def contracts(
    context: typer.Context,
    revision: Annotated[
        str | None, typer.Argument(metavar="[REV]", help="Of this revision; by default of the working state.")
    ] = None,
    *,
    functions: Annotated[bool, typer.Option("--functions", help="Show what each contract exports.")] = False,
) -> Outcome:
    """List the contracts of a state: position, alias, id, memory and pages.

    Examples:
      piecrust contracts
      piecrust contracts main~3 --functions
    """
    style = settings(context).style
    with opened(context, read_only=True) as at:
        listed = [_contract_data(at, record, functions=functions) for record in at.records(at.state_at(revision))]
    rows = []
    for item in listed:
        pages = count(item["pages"], "page")
        name = style.contract(item["aliases"][0] if item["aliases"] else "")
        rows.append(
            [str(item["position"]), name, item["contract"].hex(), f"{size(int(item['memory_length']))}, {pages}"]
        )
    lines = table(rows)
    if functions:
        lines = [
            part
            for line, item in zip(lines, listed, strict=True)
            for part in (line, *(f"    {function}" for function in item["functions"]))
        ]
    return Outcome({"contracts": listed}, lines or ["There are no contracts."])


def _contract_data(at: WorkingState, record: ContractRecord, *, functions: bool) -> dict[str, Any]:
    shape = record.memory_kind.shape
    data: dict[str, Any] = {
        "contract": record.id,
        "aliases": sorted(name for name, identifier in at.aliases().items() if identifier == record.id),
        "position": record.position,
        "owner": record.owner,
        "bytecode": record.bytecode,
        "memory_kind": int(record.memory_kind),
        "memory_length": u64(record.memory_length),
        "pages": sum(1 for _ in tree.leaves(at.store, shape, record.pages_root)),
        "pages_root": record.pages_root,
    }
    if functions:
        data["functions"] = exported_functions(at.store.load(Kind.BYTECODE, record.bytecode))
    return data


def root(
    context: typer.Context,
    revision: Annotated[
        str | None, typer.Argument(metavar="[REV]", help="Of this revision; by default of the working state.")
    ] = None,
) -> Outcome:
    """Print the state root: the Merkle root over the memories of all contracts.

    Examples:
      piecrust root
      piecrust root v1
    """
    with opened(context, read_only=True) as at:
        state = at.state_at(revision)
        commit = at.head.commit if revision is None else at.commit(revision)
        uncommitted = revision is None and at.workspace.draft() is not None
    data = {"state_root": state.state_root, "commit": commit, "uncommitted": uncommitted}
    return Outcome(data, [state.state_root.hex()])


def memory(
    context: typer.Context,
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="Alias, id, or prefix of an id.")],
    *,
    revision: Revision = None,
    span: Annotated[
        str | None, typer.Option("--range", metavar="OFFSET:LENGTH", help="Which bytes; numbers may be hex (0x...).")
    ] = None,
    page: Annotated[int | None, typer.Option("--page", metavar="N", help="The bytes of page N.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the bytes to a file; - is stdout.")
    ] = None,
) -> Outcome:
    """Read a contract's memory: a summary, a hex dump of a range, or the bytes into a file.

    Examples:
      piecrust memory counter
      piecrust memory counter --range 0x10000:64
      piecrust memory counter --at main~1 --page 1 -o page.bin
    """
    with opened(context, read_only=True) as at:
        state = at.state_at(revision)
        identifier = at.contract(contract, state)
        record = contract_map.lookup(at.store, state.map_root, identifier)
        if record is None:
            raise ContractDoesNotExist(identifier)
        if span is None and page is None:
            return _summary(at, record)
        offset, length = (page * PAGE_BYTES, PAGE_BYTES) if page is not None else parse_range(span or "")
        addresses = record.memory_kind.shape.positions * PAGE_BYTES
        if offset < 0 or offset + length > addresses:
            raise UsageError(f"a {int(record.memory_kind)}-bit memory has pages 0 to {addresses // PAGE_BYTES - 1}")
        # Pages behind the end may have been written, as the original allows it.
        beyond = offset + length > record.memory_length
        if output is None and length > SHOWN_BYTES_MAX:
            raise UsageError(f"{length:,} bytes are too many to show", hints=["-o FILE"])
        if length > READ_BYTES_MAX:
            raise UsageError(
                f"{length:,} bytes are too many at once", hints=[f"piecrust export REV --raw {contract} -o FILE"]
            )
        data = read_memory(at.store, record, offset, length)
    found = {"contract": identifier, "offset": u64(offset), "length": u64(length)}
    warnings = [f"the memory ends at {record.memory_length:#x}"] if beyond else []
    if output is None:
        return Outcome({**found, "bytes": data}, hex_dump(data, offset), warnings=warnings, paged=True)
    with output_file(output, settings(context)) as file:
        file.write(data)
    return Outcome({**found, "file": output}, [f"{len(data):,} bytes in {output}"], warnings=warnings, raw=file.raw)


def _summary(at: WorkingState, record: ContractRecord) -> Outcome:
    pages = [index for index, _ in tree.leaves(at.store, record.memory_kind.shape, record.pages_root)]
    runs: list[list[int]] = []
    for index in pages:
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    listed = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return Outcome(
        {
            "contract": record.id,
            "memory_length": u64(record.memory_length),
            "memory_kind": int(record.memory_kind),
            "pages": pages,
        },
        [
            f"{size(record.memory_length)} of {int(record.memory_kind)}-bit memory",
            f"{count(len(pages), 'page')} written: {listed}" if pages else "no page was ever written",
        ],
    )


def parse_range(text: str) -> tuple[int, int]:
    """Offset and length from `OFFSET:LENGTH`.

    Raises:
        UsageError: it is something else, or reaches beyond what a memory can have.
    """
    offset, colon, length = text.partition(":")
    try:
        found = int(offset, 0), int(length, 0)
    except ValueError:
        found = (-1, -1)
    if not colon or min(found) < 0 or sum(found) > 1 << 42:
        raise UsageError(f"{text!r} is not OFFSET:LENGTH", hints=["--range 0x10000:64"])
    return found
