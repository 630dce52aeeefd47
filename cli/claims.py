"""What a verified proof says, as a tree for people and as data for envelopes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from piecrust.cli.envelope import u64
from piecrust.cli.render import hex_dump
from piecrust.cli.style import Style
from piecrust.objects.verifier.claims import (
    AbsentContractClaim,
    AbsentPageClaim,
    AncestryClaim,
    CommitClaim,
    ContractClaim,
    ContractDifferenceClaim,
    DifferenceClaim,
    PageClaim,
    PartClaim,
    RangeClaim,
    StateClaim,
)

BYTES_SHOWN_MAX = 256
PATH_SHOWN_MAX = 16
WIDE = {"generation", "depth", "time", "offset", "memory_length", "ancestor_generation", "descendant_generation"}


def claim_data(claim: object) -> Any:
    """A claim for the envelope: its kind and its fields."""
    if isinstance(claim, tuple):
        return [claim_data(item) for item in claim]
    if not dataclasses.is_dataclass(claim):
        return claim
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(claim).__name__.removesuffix("Claim")).lower()
    fields = {field.name: getattr(claim, field.name) for field in dataclasses.fields(claim)}
    told = {n: u64(v) if n in WIDE and v is not None else claim_data(v) for n, v in fields.items()}
    return {"kind": kind, **told}


def claim_lines(claim: StateClaim | AncestryClaim | DifferenceClaim, style: Style) -> list[str]:
    """A claim as a tree."""
    match claim:
        case StateClaim():
            lines = _anchor(claim.commit, claim.state_root, style)
            for part in claim.claims:
                lines += [f"  {line}" for line in _part(part, style)]
            return lines
        case AncestryClaim():
            return list(_ancestry(claim, style))
        case DifferenceClaim():
            return list(_difference(claim, style))


def _anchor(commit: CommitClaim | None, root: bytes, style: Style) -> list[str]:
    """What the claim is bound to."""
    if commit is None:
        return [f"state root {style.root(root.hex())} (no ids, owners or bytecode are bound)"]
    lines = [f"commit {style.commit(commit.id.hex())}", f"  state root {style.root(root.hex())}"]
    if commit.message:
        lines.append(f"  message {commit.message.splitlines()[0]!r}")
    return lines


def _part(part: PartClaim, style: Style) -> list[str]:
    match part:
        case AbsentContractClaim():
            return [f"there is no contract {style.contract(part.id.hex())}"]
        case ContractClaim():
            return _contract(part, style)
        case PageClaim():
            return [_name(part.contract, style), f"  page {part.index}", *_bytes(part.data, part.index << 16)]
        case RangeClaim():
            where = f"  bytes {part.offset:#x} to {part.offset + len(part.data):#x}"
            return [_name(part.contract, style), where, *_bytes(part.data, part.offset)]
        case AbsentPageClaim():
            return [_name(part.contract, style), f"  page {part.index} was never written"]


def _contract(claim: ContractClaim, style: Style) -> list[str]:
    lines = [_name(claim, style), f"  pages {claim.pages_root.hex()}"]
    if claim.bytecode is not None and claim.owner is not None and claim.memory_length is not None:
        lines.append(f"  bytecode {claim.bytecode.hex()}")
        lines.append(f"  owner {claim.owner.hex()}")
        lines.append(f"  memory {claim.memory_length:,} bytes, {claim.memory_bits}-bit")
    return lines


def _name(claim: ContractClaim, style: Style) -> str:
    identifier = style.contract(claim.id.hex()) if claim.id is not None else "of unknown id"
    return f"contract {identifier} at position {claim.position}"


def _bytes(data: bytes, offset: int) -> list[str]:
    lines = [f"    {line}" for line in hex_dump(data[:BYTES_SHOWN_MAX], offset)]
    return [*lines, f"    and {len(data) - BYTES_SHOWN_MAX:,} more"] if len(data) > BYTES_SHOWN_MAX else lines


def _ancestry(claim: AncestryClaim, style: Style) -> Iterator[str]:
    yield f"commit {style.commit(claim.descendant.hex())} (generation {claim.descendant_generation})"
    yield f"  comes after {style.commit(claim.ancestor.hex())} (generation {claim.ancestor_generation})"
    path = claim.path if len(claim.path) <= PATH_SHOWN_MAX else claim.path[:PATH_SHOWN_MAX]
    yield f"  by way of {len(claim.path)} commits:"
    yield from (f"    {commit.hex()}" for commit in path)
    if len(path) < len(claim.path):
        yield f"    and {len(claim.path) - len(path)} more"


def _difference(claim: DifferenceClaim, style: Style) -> Iterator[str]:
    yield f"between commit {style.commit(claim.old.id.hex())}"
    yield f"    and commit {style.commit(claim.new.id.hex())}"
    if not claim.contracts:
        yield "  no contract differs"
    for contract in claim.contracts:
        yield from _contract_difference(contract, style)


def _contract_difference(claim: ContractDifferenceClaim, style: Style) -> Iterator[str]:
    status = "new" if claim.old is None else "gone" if claim.new is None else "changed"
    yield f"  {status} contract {style.contract(claim.id.hex())}"
    for page in claim.pages:
        old = style.removed(page.old.hex()[:12]) if page.old is not None else "nothing"
        new = style.added(page.new.hex()[:12]) if page.new is not None else "nothing"
        yield f"    page {page.index}: {old} -> {new}"
