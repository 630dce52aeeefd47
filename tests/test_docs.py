"""The documents tell the truth: their examples run, their links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import piecrust
import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "fixtures/*/README.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def shipped_modules() -> list[str]:
    names = [module.name for module in pkgutil.walk_packages(piecrust.__path__, "piecrust.")]
    for package in ("objects", "vm", "cli"):
        folder = importlib.import_module(f"piecrust.{package}")
        names += [module.name for module in pkgutil.walk_packages(folder.__path__, f"piecrust.{package}.")]
    return sorted(set(names) - {"piecrust.__main__", "piecrust.pytest_plugin"})


@pytest.mark.parametrize("name", shipped_modules())
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_in_documents_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may make stores
    contracts = ROOT / "fixtures" / "contracts" / "bin"
    if contracts.is_dir():
        (tmp_path / "contracts").symlink_to(contracts)
    result = doctest.testfile(str(document), module_relative=False, optionflags=OPTIONS)
    assert result.failed == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_library_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contracts").symlink_to(ROOT / "fixtures" / "contracts" / "bin")
    examples = re.findall(r"```python\n(?!>>>)(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
