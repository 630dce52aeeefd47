"""Where the fixtures are, and how tests get at them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "fixtures"
CONTRACTS = FIXTURES / "contracts" / "bin"
VECTORS = FIXTURES / "vectors"
REFERENCE = FIXTURES / "reference"


def contract(name: str) -> bytes:
    """The bytecode of a contract of fixtures/contracts, by its name in the manifest."""
    return (CONTRACTS / f"{name}.wasm").read_bytes()


def module_in(folder: Path, name: str) -> ModuleType:
    """A module of a folder of programs, whose modules import each other by their bare names."""
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def reference_module(name: str) -> ModuleType:
    """A module of fixtures/reference."""
    return module_in(REFERENCE, name)
