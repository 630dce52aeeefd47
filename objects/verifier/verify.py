"""Verifies a proof: the one function that others call."""

from __future__ import annotations

from typing import Final

from piecrust.objects.verifier.claims import AncestryClaim, DifferenceClaim, StateClaim
from piecrust.objects.verifier.encoding import an_array, decode, fail, is_number
from piecrust.objects.verifier.history import ancestry_claim, difference_claim
from piecrust.objects.verifier.state import state_claim

MAGIC: Final = "piecrust proof"
VERSION: Final = 1
STATE, ANCESTRY, DIFFERENCE = 0, 1, 2  # kinds of proofs

Verified = StateClaim | AncestryClaim | DifferenceClaim


def verify(
    proof: bytes | bytearray | memoryview,
    *,
    commit: bytes | None = None,
    state_root: bytes | None = None,
    base: bytes | None = None,
) -> Verified:
    """What the proof claims, if all of it holds.

    What is trusted is given, 32 bytes each. Without any of it, look at what the claim is about.

    Args:
        proof: The bytes of a proof.
        commit: The id that the claim has to be about: the descendant's in a proof of ancestry, the newer one's in one
            of a difference.
        state_root: The state root that it has to be about. Alone it doesn't do for a proof about a commit: anybody can
            make up a commit with this root, and other ids, owners and lengths of memories.
        base: The id that it has to start from: the ancestor's, or the older one's of a difference. Anybody can make up
            an older commit.

    Raises:
        InvalidProof: it doesn't hold, or is about something else.
    """
    if not isinstance(proof, bytes | bytearray | memoryview):
        fail(f"a proof is bytes, and this is {type(proof).__name__}")
    for trusted in (commit, state_root, base):
        if trusted is not None and (not isinstance(trusted, bytes) or len(trusted) != 32):
            fail("commits and state roots are 32 bytes; of hexadecimal digits, bytes.fromhex makes them")
    claim = _claim(an_array(decode(proof)))
    about, root, older = _subject(claim)
    _compare("commit", commit, about)
    _compare("state root", state_root, root)
    _compare("older commit", base, older)
    if state_root is not None and commit is None and about is not None:
        fail(f"it is about commit {about.hex()}, which a state root doesn't bind")
    return claim


def _claim(fields: tuple[object, ...]) -> Verified:
    if len(fields) < 3 or fields[0] != MAGIC or not is_number(fields[1], VERSION):
        fail("not a proof of a known version")
    if is_number(fields[2], STATE) and len(fields) == 8:
        return state_claim(*fields[3:])
    if is_number(fields[2], ANCESTRY) and len(fields) == 4:
        return ancestry_claim(fields[3])
    if not is_number(fields[2], DIFFERENCE) or len(fields) != 8:
        fail("not a known kind of proof")
    return difference_claim(*fields[3:])


def _subject(claim: Verified) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The commit and the state root that a claim is about, and the commit that it starts from."""
    match claim:
        case StateClaim():
            return None if claim.commit is None else claim.commit.id, claim.state_root, None
        case AncestryClaim():
            return claim.descendant, None, claim.ancestor
        case DifferenceClaim():
            return claim.new.id, claim.new.state_root, claim.old.id


def _compare(what: str, trusted: bytes | None, found: bytes | None) -> None:
    if trusted is not None and found != trusted:
        fail(f"it is about {'no ' + what if found is None else what + ' ' + found.hex()}")
