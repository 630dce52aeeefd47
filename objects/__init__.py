"""Bytes, hashes, pages, Merkle trees, commits, refs and the store that keeps them. Knows no WebAssembly."""
