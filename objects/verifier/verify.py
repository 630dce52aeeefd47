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
    proof: bytes | bytearray | memoryview, *, commit: bytes | None = None, state_root: bytes | None = None
) -> Verified:
    """What the proof claims, if all of it holds.

    `commit` is the id that the claim has to be about: the descendant's in a proof of ancestry, the new one's in one of
    a difference (compare the old one's, too: anybody can make up an old commit). `state_root` is that commit's. Without
    either, look at what the claim is about.

    Raises:
        InvalidProof: it doesn't hold, or is about something else.
    """
    if not isinstance(proof, bytes | bytearray | memoryview):
        fail(f"a proof is bytes, and this is {type(proof).__name__}")
    for expected in (commit, state_root):
        if expected is not None and (not isinstance(expected, bytes) or len(expected) != 32):
            fail("commits and state roots are 32 bytes; of hexadecimal digits, bytes.fromhex makes them")
    fields = an_array(decode(bytes(proof)))
    if len(fields) < 3 or fields[0] != MAGIC or not is_number(fields[1], VERSION):
        fail("not a proof of a known version")
    claim: Verified
    root: bytes | None
    if is_number(fields[2], STATE) and len(fields) == 8:
        claim = state_claim(*fields[3:])
        about, root = (None if claim.commit is None else claim.commit.id), claim.state_root
    elif is_number(fields[2], ANCESTRY) and len(fields) == 4:
        claim = ancestry_claim(fields[3])
        about, root = claim.descendant, None
    elif is_number(fields[2], DIFFERENCE) and len(fields) == 8:
        claim = difference_claim(*fields[3:])
        about, root = claim.new.id, claim.new.state_root
    else:
        fail("not a known kind of proof")
    if commit is not None and about != commit:
        fail(f"it is about {'no commit' if about is None else 'commit ' + about.hex()}")
    if state_root is not None and root != state_root:
        fail(f"it is about {'no state root' if root is None else 'state root ' + root.hex()}")
    return claim
