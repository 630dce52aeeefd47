"""Verifies proofs about states and their history: no store, no engine, nothing but the bytes of a proof and blake3.

`docs/proofs.md` specifies proofs byte by byte. This package imports the standard library, blake3, and the project's
errors, and nothing of the rest.

- Bytes are hostile until `verify` returns. Reading is iterative; every length, count and depth has a bound.
- Hashes are computed upwards only, from what is claimed to the id that is trusted. Where a thing stands in a tree is
  counted while the tree is walked, never read from the proof; heights and arities follow from the kind of the tree.
- What a proof holds and doesn't claim is refused, and so is every encoding but the canonical one.
"""
