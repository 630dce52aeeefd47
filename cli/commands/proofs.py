"""`prove`, `verify` and `inspect`: facts about a state that stand without the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from piecrust.cli.claims import claim_data, claim_lines
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import CommandError, UsageError
from piecrust.cli.commands.contracts import parse_range
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.output_file import output_file
from piecrust.cli.render import size
from piecrust.cli.words import read_bytes
from piecrust.cli.working_state import only_one, opened
from piecrust.objects.errors import InvalidFormat, InvalidProof
from piecrust.objects.ids import CommitId, ContractId, StateRoot
from piecrust.objects.verifier.claims import DifferenceClaim
from piecrust.objects.verifier.encoding import PROOF_BYTES_MAX
from piecrust.objects.verifier.verify import Verified
from piecrust.objects.verifier.verify import verify as verify_proof
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, RecordOf, Wanted

if TYPE_CHECKING:
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.state import State

File = Annotated[str, typer.Argument(metavar="FILE", help="A proof.")]


class ProofIsFalse(CommandError):
    """A proof does not hold, or is about something else."""

    exit_code = ExitCode.NEGATIVE


def prove(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="The commit that the proof is about.")],
    wishes: Annotated[list[str] | None, typer.Argument(metavar="[CONTRACT]", help="What to prove, see above.")] = None,
    *,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where the proof goes; - is stdout.")
    ] = None,
    ancestor: Annotated[
        str | None, typer.Option("--ancestor", metavar="REV", help="Prove that this one comes before it.")
    ] = None,
    difference: Annotated[
        str | None, typer.Option("--difference", metavar="REV", help="Prove what changed since this one.")
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="Under the state root alone, which binds no ids, instead of the commit.")
    ] = False,
) -> Outcome:
    """Write a proof about the state of a commit, which anybody can verify who trusts the commit's id.

    After a contract stands what to prove of it; several contracts make one proof:

      CONTRACT                 its record: bytecode, owner, memory length
      CONTRACT --page N        a page of its memory
      CONTRACT --range O:L     L bytes of its memory from offset O
      CONTRACT --absent-page N that the page was never written
      CONTRACT --absent        that there is no such contract

    Examples:
      piecrust prove main counter --range 0x106a0:8 -o value.proof
      piecrust prove main counter --page 1 token --page 3 -o pages.proof
      piecrust prove main --ancestor v1 -o history.proof
    """
    if output is None:
        raise UsageError("where should the proof go?", hints=["-o FILE"])
    only_one({"--ancestor": ancestor, "--difference": difference, "a contract": wishes, "--bare": None})
    with opened(context, read_only=True) as at:
        commit = at.commit(revision)
        proof = _make(at, commit, wishes or [], ancestor, difference, bare=bare)
        root = at.state(commit).state_root
    with output_file(output, settings(context)) as file:
        file.write(proof)
    check = f"--root {root.hex()}" if bare else f"--commit {commit.hex()}"
    return Outcome(
        {"commit": commit, "state_root": root, "file": output, "bytes": len(proof)},
        [f"{output}: {size(len(proof))}"],
        hints=[] if file.raw else [f"piecrust verify {output} {check}"],
        raw=file.raw,
    )


def _make(
    at: WorkingState,
    commit: CommitId,
    wishes: Sequence[str],
    ancestor: str | None,
    difference: str | None,
    *,
    bare: bool,
) -> bytes:
    from piecrust.objects.proof import prove_state, prove_under_root
    from piecrust.objects.proof_history import prove_ancestry, prove_difference

    if ancestor is not None:
        return prove_ancestry(at.store, at.commit(ancestor), commit)
    if difference is not None:
        return prove_difference(at.store, at.commit(difference), commit)
    state = at.state(commit)
    wanted = list(_wanted(at, state, wishes))
    if not wanted:
        raise UsageError("what should be proven?", hints=["piecrust prove REV CONTRACT --range OFFSET:LENGTH -o FILE"])
    return prove_under_root(at.store, state, wanted) if bare else prove_state(at.store, commit, wanted)


def _wanted(at: WorkingState, state: State, words: Sequence[str]) -> Iterator[Wanted]:
    """What the words after the revision ask for: contracts, each with the options behind it."""
    contract: ContractId | None = None
    told = True  # whether something was asked of the contract
    left = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            if contract is not None and not told:
                yield RecordOf(contract)
            contract, told = at.contract(word, state), False
            continue
        if contract is None:
            raise UsageError(f"{word} stands after the contract that it is about")
        told = True
        match word:
            case "--absent":
                yield NoContract(contract)
            case "--page":
                yield PageOf(contract, _number(word, left))
            case "--absent-page":
                yield NoPage(contract, _number(word, left))
            case "--range":
                yield RangeOf(contract, *parse_range(_value(word, left)))
            case _:
                raise UsageError(f"there is no option {word}", hints=["piecrust prove --help"])
    if contract is not None and not told:
        yield RecordOf(contract)


def _value(option: str, left: list[str]) -> str:
    if not left:
        raise UsageError(f"{option} needs a value")
    return left.pop(0)


def _number(option: str, left: list[str]) -> int:
    text = _value(option, left)
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{option} takes a number, not {text!r}") from None


def verify(
    context: typer.Context,
    file: File,
    *,
    commit: Annotated[
        str | None, typer.Option("--commit", metavar="HEX", help="The commit that it must be about (64 digits).")
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", metavar="HEX", help="The state root that it must be about (64 digits).")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="HEX", help="The ancestor, or the older commit of a difference (64 digits)."),
    ] = None,
) -> Outcome:
    """Check a proof, without a store; the exit code is 0 if it holds and 1 if not.

    Without --commit or --root the proof is only checked in itself: look at what it is about. A state root alone does
    for proofs made with --bare, as it binds no ids.

    Examples:
      piecrust verify value.proof --commit 9f3a41...
    """
    expected = None if commit is None else _id(CommitId, commit)
    state_root = None if root is None else _id(StateRoot, root)
    older = None if base is None else _id(CommitId, base)
    claim = _verified(file, expected, state_root, older)
    style = settings(context).style
    asked = expected is not None or state_root is not None
    warnings = [] if asked else ["nothing says which commit it should be about: see the claim"]
    if isinstance(claim, DifferenceClaim) and asked and older is None:
        warnings.append(f"nothing says that it should start from this commit: {claim.old.id.hex()} (--base)")
    lines = [style.added("The proof holds."), *claim_lines(claim, style)]
    return Outcome({"holds": True, "claim": claim_data(claim)}, lines, warnings=warnings)


def inspect(context: typer.Context, file: File) -> Outcome:
    """Print what a proof claims, as a tree; it is checked in itself first.

    Examples:
      piecrust inspect value.proof
    """
    claim = _verified(file)
    return Outcome({"claim": claim_data(claim)}, claim_lines(claim, settings(context).style), paged=True)


def _verified(
    file: str, commit: bytes | None = None, state_root: bytes | None = None, base: bytes | None = None
) -> Verified:
    try:
        proof = read_bytes(file, PROOF_BYTES_MAX)
    except UsageError as error:  # a file that is too long for a proof is none
        raise ProofIsFalse(f"the proof does not hold: {error}") from None
    try:
        return verify_proof(proof, commit=commit, state_root=state_root, base=base)
    except InvalidProof as error:
        raise ProofIsFalse(f"the proof does not hold: {error.reason}") from None


def _id(kind: type[CommitId | StateRoot], text: str) -> bytes:
    try:
        return kind.from_hex(text.lower().removeprefix("0x"))
    except InvalidFormat as error:
        raise UsageError(str(error)) from None
