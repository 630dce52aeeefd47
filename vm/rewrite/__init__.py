"""Rewrites a contract: compiles gas (and, where needed, write tracking) into its WebAssembly."""
