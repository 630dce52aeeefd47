from __future__ import annotations

from piecrust.objects.cache import GenerationCache
from piecrust.objects.kinds import Kind


def address(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    cache = GenerationCache(200_000)
    for number in range(500):
        cache.put(Kind.BLOB, address(number), bytes(1000))
        assert cache.get(Kind.BLOB, address(0)) is not None
    assert all(cache.get(Kind.BLOB, address(number)) is not None for number in range(499, 410, -1))
    assert not any(cache.get(Kind.BLOB, address(number)) for number in range(1, 300))


def test_kinds_do_not_mix() -> None:
    cache = GenerationCache(1 << 20)
    cache.put(Kind.PAGE, address(1), b"page")
    assert cache.get(Kind.BLOB, address(1)) is None
    assert cache.get(Kind.PAGE, address(1)) == b"page"
    cache.clear()
    assert cache.get(Kind.PAGE, address(1)) is None
