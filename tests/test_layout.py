"""The architecture, checked: who may import whom, what is shipped, and who may print."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"piecrust": "api", "piecrust.objects": "objects", "piecrust.vm": "vm", "piecrust.cli": "cli"}

# Imports go one way: cli -> vm -> objects; the facade in api/ may look at all of them.
MAY_IMPORT = {
    "objects": {"piecrust.objects", "blake3", "cbor2", "obstore", "zstandard"},
    "vm": {"piecrust.objects", "piecrust.vm", "blake3", "wasmtime", "cbor2", "zstandard"},
    "cli": {"piecrust", "typer", "click", "rich"},
    "api": {"piecrust", "pytest"},
}
MODULE_LINES_MAX = 400


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.lineno, node.module or ""


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_one_way(folder: str) -> None:
    allowed = MAY_IMPORT[folder]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(folder)
        for line, name in imported(ast.parse(path.read_text()))
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == root or name.startswith(root + ".") for root in allowed)
    ]
    assert not wrong


def test_the_store_and_the_vm_never_import_the_facade() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("objects", "vm")
        for path in modules(folder)
        for line, name in imported(ast.parse(path.read_text()))
        if name == "piecrust" or re.match(r"piecrust\.(cli|rkyv|proofs)\b", name)
    ]
    assert not wrong


def test_every_package_on_disk_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = set(project["tool"]["setuptools"]["packages"])
    on_disk = set()
    for package, folder in FOLDERS.items():
        for path in modules(folder):
            inner = path.parent.relative_to(ROOT / folder).parts
            on_disk.add(".".join((package, *inner)))
    assert on_disk == shipped
    assert not (ROOT / "piecrust").exists(), "a root folder piecrust/ would shadow the mapping"
    assert not (ROOT / "__init__.py").exists()


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ":
            yield node.lineno, "os.environ"


@pytest.mark.parametrize("folder", ["objects", "vm"])
def test_only_the_command_line_prints_reads_the_environment_or_exits(folder: str) -> None:
    forbidden = {"print", "os.environ", "os.getenv", "sys.exit", "os._exit", "exit", "input"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in modules(folder)
        for line, name in calls(ast.parse(path.read_text()))
        if name in forbidden
    ]
    assert not wrong


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_module_has_one_job_that_its_docstring_names(folder: str) -> None:
    for path in modules(folder):
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
        assert len(text.splitlines()) <= MODULE_LINES_MAX, f"{path.relative_to(ROOT)} is too long to have one job"


def test_fixtures_are_never_located_from_package_code() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for folder in MAY_IMPORT
        for path in modules(folder)
        if re.search(r"[\"']fixtures\b", path.read_text())
    ]
    assert not wrong
