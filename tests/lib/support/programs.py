"""Programs for the script contract: `Program().store(SCRATCH, b"abc").call(other, 0, inner).bytes()`.

The assembler is fixtures/reference/scripts.py; what the operations do is told in the contract's source.
"""

from __future__ import annotations

from support.fixtures import reference_module

_scripts = reference_module("scripts")

Program = _scripts.Program
PAGE: int = _scripts.PAGE
ARGUMENT: int = _scripts.ARGUMENT  # address of the argument buffer
SCRATCH: int = _scripts.SCRATCH  # address of the pages that programs may use
SCRATCH_PAGES: int = _scripts.SCRATCH_PAGES
PAGES: int = _scripts.PAGES  # length of memory at deployment
