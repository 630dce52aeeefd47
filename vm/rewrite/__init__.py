"""Rewrites a contract: compiles gas (and, where needed, write tracking) into its WebAssembly."""

from piecrust.vm.rewrite.rewriter import REWRITER_VERSION, Reset, Rewritten, rewrite

__all__ = ["REWRITER_VERSION", "Reset", "Rewritten", "rewrite"]
