"""Tests of contracts with pytest: fixtures, and snapshots of gas. `pip install 'piecrust-vm[pytest]'` is enough.

- `vm`: a VM on a store of its own, or on the one that the setting `piecrust_store` names.
- `session`: a session on it, dropped after the test: fresh, or at the revision of `@pytest.mark.piecrust(base="v1")` or
  of the setting `piecrust_base`.
- `deploy`: deploys a contract into `session` and gives it with its functions as methods.

`--piecrust-gas-update` writes down the gas that each test's session spent on deployments and calls (queries are not
counted), `--piecrust-gas-check` fails the tests whose gas is another now. docs/pytest.md has an example project.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from piecrust.vm.contract import Contract
    from piecrust.vm.session import Session
    from piecrust.vm.vm import VM

SNAPSHOT_FILE = "gas-snapshot.json"
DEFAULT_OWNER = bytes(32)


class Deploy:
    """Deploys contracts into a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, wasm: bytes | str | Path, owner: bytes = DEFAULT_OWNER, **options: Any) -> Contract:
        """Deploy a contract, and give it with its functions as methods.

        Args:
            wasm: bytecode, the path of a .wasm or .wat file, or the text of a module.
            owner: the contract's owner.
            options: `contract_id`, `init` and `gas_limit`, as `Session.deploy` has them.
        """
        contract, _ = self._session.deploy(wasm, owner, **options)
        return self._session.contract(contract)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and settings of this plugin."""
    group = parser.getgroup("piecrust", "contracts on piecrust")
    group.addoption("--piecrust-gas-check", action="store_true", help="fail tests whose gas differs from the snapshot")
    group.addoption("--piecrust-gas-update", action="store_true", help="write the gas of the tests into the snapshot")
    parser.addini("piecrust_store", "directory of a store that the fixture `vm` opens, instead of an empty one")
    parser.addini("piecrust_base", "revision that the fixture `session` stands on")
    parser.addini("piecrust_gas_snapshot", "file of gas snapshots, from the root directory", default=SNAPSHOT_FILE)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and read the snapshot."""
    config.addinivalue_line("markers", "piecrust(base): the revision that the fixture `session` stands on")
    if config.getoption("piecrust_gas_check") or config.getoption("piecrust_gas_update"):
        config.pluginmanager.register(GasSnapshots(config), "piecrust-gas")


@pytest.fixture
def vm(pytestconfig: pytest.Config) -> Iterator[VM]:
    """A VM on an empty store, or on the one that `piecrust_store` names; what tests commit there stays."""
    from piecrust.vm.vm import VM

    directory = pytestconfig.getini("piecrust_store")
    opened = VM(pytestconfig.rootpath / directory, create=False) if directory else VM.ephemeral()
    with opened:
        yield opened


@pytest.fixture
def session(vm: VM, request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session that leaves no trace unless the test commits."""
    marker = request.node.get_closest_marker("piecrust")
    base = marker.kwargs.get("base") if marker is not None else None
    with vm.session(base or request.config.getini("piecrust_base") or None) as opened:
        yield opened


@pytest.fixture
def deploy(session: Session) -> Deploy:
    """Deploys contracts into `session`."""
    return Deploy(session)


class GasSnapshots:
    """What each test spent, compared with what it spent when the snapshot was written."""

    def __init__(self, config: pytest.Config) -> None:
        self._path = config.rootpath / str(config.getini("piecrust_gas_snapshot"))
        self._update = bool(config.getoption("piecrust_gas_update"))
        self._known = _read(self._path)
        self._spent: dict[str, int] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Look at the gas once a test has passed."""
        result = yield
        session: Any = pyfuncitem.funcargs.get("session")
        if session is not None:
            self._look(pyfuncitem.nodeid, gas_spent(session))
        return result

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the snapshot, if it was asked for; tests that did not run keep what they had."""
        if self._update and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            spent = dict(sorted({**self._known, **self._spent}.items()))
            self._path.write_text(json.dumps({"gas": spent}, indent=2) + "\n")

    def _look(self, test: str, spent: int) -> None:
        self._spent[test] = spent
        if self._update:
            return
        known = self._known.get(test)
        if known is None:
            pytest.fail(
                f"no gas is known for this test: run with --piecrust-gas-update ({self._path.name})", pytrace=False
            )
        if known != spent:
            change = f"{(spent - known) / known:+.1%}" if known else "from nothing"
            pytest.fail(f"spent {spent:,} gas, the snapshot says {known:,} ({change})", pytrace=False)


def gas_spent(session: Session) -> int:
    """Gas of a session's deployments and calls; what failed does not tell its gas."""
    from piecrust.objects.steps import Call, Deploy, Migrate, Step, Success

    def of(step: Step) -> int:
        match step:
            case Deploy(outcome=Success() as outcome) | Call(outcome=Success() as outcome):
                return outcome.gas_spent
            case Migrate():
                return of(step.deploy) + sum(map(of, step.steps))
            case _:
                return 0

    return sum(map(of, session.steps))


def _read(path: Path) -> dict[str, int]:
    """The snapshot in a file; empty if there is none.

    Raises:
        pytest.UsageError: The file holds something else.
    """
    try:
        found = json.loads(path.read_text())["gas"]
        return {str(test): int(gas) for test, gas in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise pytest.UsageError(f"{path} is no gas snapshot: {error}") from error
