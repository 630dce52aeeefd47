"""What tests of the VM's lower half run on: each write tracker, and each way into the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from piecrust.vm import native, tracking
from support.scratch import Scratch, host_functions


@pytest.fixture(params=tracking.NAMES)
def tracker(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test on each write tracker that works here."""
    before = tracking.active()
    try:
        tracking.select(request.param)
    except OSError as error:
        pytest.skip(f"{request.param}: {error}")
    yield request.param
    tracking.select(before)


@pytest.fixture(params=native.NAMES)
def native_path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test on each way into the engine."""
    before = native.active()
    native.select(request.param)
    yield request.param
    native.select(before)


@pytest.fixture
def scratch(tracker: str) -> Iterator[Scratch]:
    """The scratch contract, deployed on nothing."""
    with host_functions():
        made = Scratch()
        yield made
        made.close()
