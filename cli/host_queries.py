"""Host queries from a Python module of the user's, named on the command line and nowhere else.

`--host-queries MODULE:OBJECT` runs code, so a store's own files never name it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from piecrust.cli.command_errors import UsageError

if TYPE_CHECKING:
    from piecrust.vm.vm import VM


def register_host_queries(vm: VM, specifications: list[str]) -> None:
    """Register what each `MODULE:OBJECT` gives: a mapping from names to queries, or a function that is given the VM.

    Modules are found in the current directory, too.

    Raises:
        UsageError: there is no such module or object, or it is something else.
    """
    for specification in specifications:
        found = _load(specification)
        if isinstance(found, Mapping):
            for name, query in found.items():
                vm.register_host_query(name, query)
        elif callable(found):
            found(vm)
        else:
            raise UsageError(f"{specification!r} is neither a mapping of names to queries nor a function of the VM")


def _load(specification: str) -> object:
    module_name, colon, path = specification.partition(":")
    if not colon or not module_name or not path:
        raise UsageError(f"{specification!r} is not MODULE:OBJECT", hints=["--host-queries queries:QUERIES"])
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot load the host queries {specification!r}") from error
    return found
