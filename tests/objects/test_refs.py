from __future__ import annotations

import pytest
from piecrust.objects.errors import InvalidFormat, InvalidRefName
from piecrust.objects.ids import CommitId
from piecrust.objects.refs import Symbolic, check_ref_name, decode_ref, encode_ref

COMMIT = CommitId(bytes(range(32)))


@pytest.mark.parametrize(
    "name",
    [
        "HEAD",
        "draft",
        "heads/main",
        "heads/feature/x-1",
        "heads/ünï",
        "tags/v1.0",
        f"pins/{COMMIT}",
        "heads/" + "x" * 249,
    ],
)
def test_names_that_refs_may_have(name: str) -> None:
    assert check_ref_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "main",
        "heads",
        "heads/",
        "heads//x",
        "heads/x/",
        "heads/.x",
        "heads/-x",
        "heads/x.",
        "heads/x.lock",
        "heads/a..b",
        "heads/a b",
        "heads/a\tb",
        "heads/a~1",
        "heads/a^",
        "heads/a:b",
        "heads/a@{1}",
        "heads/a\\b",
        "heads/a*",
        "heads/HEAD",
        "heads/draft",
        f"heads/{COMMIT}",
        f"tags/{COMMIT}",
        "pins/main",
        f"pins/{COMMIT}0",
        f"pins/{COMMIT.hex().upper()}",
        "notes/x",
        "heads/" + "x" * 250,
        "heads/\ud800",
    ],
)
def test_names_that_refs_may_not_have(name: str) -> None:
    with pytest.raises(InvalidRefName):
        check_ref_name(name)


def test_values_come_back_from_cbor() -> None:
    for value in (COMMIT, Symbolic("heads/main"), None):
        assert decode_ref(encode_ref(value)) == value
    for wrong in (5, [], b"short"):
        with pytest.raises(InvalidFormat):
            decode_ref(wrong)
