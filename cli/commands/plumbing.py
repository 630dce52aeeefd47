"""Small tools for scripts: single objects, ids of revisions, lists, and commits given up or pinned."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer
from piecrust.cli.command import Outcome
from piecrust.cli.command_errors import Ambiguous, Missing, UsageError
from piecrust.cli.envelope import u64
from piecrust.cli.execution import logged
from piecrust.cli.render import hex_dump
from piecrust.cli.working_state import opened
from piecrust.objects.ids import Address
from piecrust.objects.kinds import Kind
from piecrust.objects.refs import PINS

DIGITS_MIN = 4
WIDE = frozenset({"memory_length", "time"})  # fields that have 64 bits
HEX_DIGITS = frozenset("0123456789abcdef")


def cat_object(
    context: typer.Context,
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="page, node, record, commit, transcript, bytecode, blob.")
    ],
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Its address, or a unique prefix; a revision for a commit.")
    ],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes of a page, bytecode or blob to stdout.")] = False,
) -> Outcome:
    """Print one stored object, verified against its address.

    Examples:
      piecrust cat-object commit 9f3a41
      piecrust cat-object bytecode 51d0 --raw > contract.wasm
    """
    names = {member.name.lower().replace("_", "-"): member for member in Kind}
    if kind not in names:
        raise UsageError(f"there is no kind of object {kind!r}", hints=[", ".join(names)])
    with opened(context, read_only=True) as at:
        digits = address.lower().removeprefix("0x")
        if names[kind] is Kind.COMMIT and (set(digits) - HEX_DIGITS or len(digits) < DIGITS_MIN):
            digits = at.commit(address).hex()
        if len(digits) < DIGITS_MIN or set(digits) - HEX_DIGITS:
            raise UsageError(f"{address!r} is not at least {DIGITS_MIN} hex digits")
        found = [Address(bytes.fromhex(digits))] if len(digits) == 64 else at.store.find(names[kind], digits)
        if not found:
            raise Missing(f"no {kind} has an address that begins with {address!r}")
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} objects match {address!r}", details=[each.hex() for each in found])
        value = at.store.load(names[kind], found[0])
    shown = plain_object(value)
    if isinstance(shown, bytes):
        if raw:
            return Outcome({"address": found[0], "kind": kind, "bytes": shown}, raw=shown)
        return Outcome({"address": found[0], "kind": kind, "bytes": shown}, hex_dump(shown), paged=True)
    if raw:
        raise UsageError(f"a {kind} is not plain bytes")
    lines = [f"{name}: {_shown(item)}".rstrip() for name, item in shown.items()]
    return Outcome({"address": found[0], "kind": kind, "fields": shown}, lines, paged=True)


def plain_object(value: Any) -> Any:
    """A stored object's value for an envelope: bytes, or its fields by name."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if dataclasses.is_dataclass(value):
        return {field.name: _field(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)}
    names = [name for name in (*getattr(type(value), "__slots__", ()),) if not name.startswith("_")]
    return {name: _field(name, getattr(value, name)) for name in names}


def _field(name: str, value: Any) -> Any:
    return u64(value) if name in WIDE and value is not None else _plain(value)


def _shown(value: Any) -> str:
    """A field for people; nothing for None."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(item)}" for key, item in value.items())
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | bytes | bool):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def rev_parse(
    context: typer.Context,
    revisions: Annotated[list[str], typer.Argument(metavar="REV", help="Revisions, or ranges A..B.")],
) -> Outcome:
    """Turn revisions into commit ids, one a line; of a range, the end and then the start after a caret.

    Examples:
      piecrust rev-parse HEAD main~2
      piecrust rev-parse root:30a1...
    """
    lines: list[str] = []
    data: list[dict[str, Any]] = []
    with opened(context, read_only=True) as at:
        for revision in revisions:
            if ".." in revision:
                start, end = at.ends(revision)
                lines += [end.hex(), f"^{start.hex()}"]
                data.append({"revision": revision, "start": start, "commit": end})
            else:
                commit = at.commit(revision)
                lines.append(commit.hex())
                data.append({"revision": revision, "start": None, "commit": commit})
    return Outcome({"revisions": data}, lines)


def ls_contracts(
    context: typer.Context,
    revision: Annotated[
        str | None, typer.Argument(metavar="[REV]", help="Of this revision; by default of the working state.")
    ] = None,
) -> Outcome:
    """List contracts for scripts: position, id, bytecode hash, memory length, owner, separated by tabs.

    Examples:
      piecrust ls-contracts main | cut -f2
    """
    with opened(context, read_only=True) as at:
        records = at.records(at.state_at(revision))
    lines = [
        "\t".join([str(r.position), r.id.hex(), r.bytecode.hex(), str(r.memory_length), r.owner.hex()]) for r in records
    ]
    data = [
        {
            "position": record.position,
            "contract": record.id,
            "bytecode": record.bytecode,
            "memory_length": str(record.memory_length),
            "owner": record.owner,
        }
        for record in records
    ]
    return Outcome({"contracts": data}, lines)


def delete_commit(
    context: typer.Context,
    revisions: Annotated[list[str], typer.Argument(metavar="REV", help="The commits.")],
) -> Outcome:
    """Give commits up, in one step; no other commit changes.

    What only they have is gone with the next `gc`. A commit that a branch or a tag is at, or that was finalized, is
    refused.

    Examples:
      piecrust delete-commit 9f3a41
    """
    with opened(context) as at:
        kept = set(at.store.commits())
        commits = list(dict.fromkeys(at.commit(revision) for revision in revisions))
        unknown = [commit for commit in commits if commit not in kept]
        if unknown:
            raise Missing(f"commit {unknown[0].short()} was given up already")
        transaction = at.store.transaction()
        for commit in commits:
            transaction.delete(commit)
        transaction.publish(logged("delete-commit", *(commit.hex() for commit in commits)))
    return Outcome({"deleted": commits}, [f"gave up {commit.hex()}" for commit in commits], hints=["piecrust gc"])


def finalize_commit(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="The commit.")],
) -> Outcome:
    """Pin a commit: it and its ancestors can not be given up, taken back or collected any more.

    Examples:
      piecrust finalize-commit v1
    """
    with opened(context) as at:
        commit = at.commit(revision)
        transaction = at.store.transaction()
        transaction.set_ref(PINS + commit.hex(), commit)
        transaction.publish(logged("finalize-commit", commit.hex()))
    return Outcome({"finalized": commit}, [f"{commit.hex()} stays"])
