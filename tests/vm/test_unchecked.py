"""The way into the engine: which one is chosen, and that a changed engine is noticed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from piecrust.vm import native, unchecked
from piecrust.vm.errors import EngineFailure


@pytest.fixture(autouse=True)
def unchosen() -> Iterator[None]:
    before = native.active()
    native.select(None)
    yield
    native.select(before)


def test_the_fast_path_is_chosen_where_it_works() -> None:
    native.check()
    assert native.active() == "unchecked"
    assert native.reason() is None


@pytest.mark.parametrize("name", ["EXTERN_BYTES", "EXTERN_VALUE", "VALUE_BYTES", "VALUE_BITS"])
def test_other_sizes_choose_the_public_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchecked, name, 24)
    with pytest.raises(EngineFailure):
        native.check()
    assert native.active() == "public"
    assert "other sizes" in str(native.reason())


def test_other_answers_choose_the_public_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchecked.NativeInstance, "remaining", lambda _: 0)
    assert native.active() == "public"
    assert "answers otherwise" in str(native.reason())


def test_a_path_can_be_forced() -> None:
    native.select("public")
    assert native.active() == "public"
    with pytest.raises(ValueError, match="no native path"):
        native.select("other")  # type: ignore[arg-type]
