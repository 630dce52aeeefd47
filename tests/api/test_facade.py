"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import piecrust
import pytest
from piecrust.objects import errors as objects_errors
from piecrust.vm import errors as vm_errors


@pytest.mark.parametrize("name", piecrust.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(piecrust, name) is not None
    assert name in dir(piecrust)


def test_public_names_are_listed_once() -> None:
    assert len(piecrust.__all__) == len(set(piecrust.__all__))
    assert set(piecrust.__all__) == set(piecrust._HOMES)


def test_every_error_is_public() -> None:
    defined = {
        name
        for module in (objects_errors, vm_errors)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, piecrust.PiecrustError)
    }
    assert defined <= set(piecrust.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = piecrust.no_such_name


def test_importing_the_package_imports_nothing_else() -> None:
    program = (
        "import sys, piecrust; names = [m for m in sys.modules if m.startswith(('piecrust.', 'wasmtime', 'cbor2'))];"
        "assert not names, names; piecrust.CommitId; assert 'wasmtime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_package_is_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "piecrust", "--help"], check=True, capture_output=True, text=True, timeout=60
    )
    assert "deploy" in result.stdout
