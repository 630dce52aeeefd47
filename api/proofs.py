"""Proofs that stand alone: made from a store, verified by anyone who trusts a commit id or a state root.

    from piecrust.proofs import RangeOf, verify

    proof = vm.prove("main", [RangeOf(contract, 1024, 32)])
    claim = verify(proof, commit=commit)
    claim.claims[-1].data

`verify` and the claims need neither a store nor wasmtime, and importing this module loads neither. `docs/proofs.md`
says what a proof is, byte by byte.
"""

from __future__ import annotations

from piecrust.objects.errors import InvalidProof, NotProvable
from piecrust.objects.verifier.claims import (
    AbsentContractClaim,
    AbsentPageClaim,
    AncestryClaim,
    Claim,
    CommitClaim,
    ContractClaim,
    ContractDifferenceClaim,
    DifferenceClaim,
    PageClaim,
    PageDifferenceClaim,
    RangeClaim,
    StateClaim,
)
from piecrust.objects.verifier.opening import verify_opening
from piecrust.objects.verifier.verify import Verified, verify
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, RecordOf, Wanted

__all__ = [
    "AbsentContractClaim",
    "AbsentPageClaim",
    "AncestryClaim",
    "Claim",
    "CommitClaim",
    "ContractClaim",
    "ContractDifferenceClaim",
    "DifferenceClaim",
    "InvalidProof",
    "NoContract",
    "NoPage",
    "NotProvable",
    "PageClaim",
    "PageDifferenceClaim",
    "PageOf",
    "RangeClaim",
    "RangeOf",
    "RecordOf",
    "StateClaim",
    "Verified",
    "Wanted",
    "verify",
    "verify_opening",
]
