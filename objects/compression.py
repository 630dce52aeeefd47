"""zstd for one thread at a time, with output that is bounded whatever the input claims."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Final

import zstandard
from piecrust.objects.errors import InvalidFormat

_SHARE: Final = 16  # bodies that a thread compresses in a row
_WORKERS_MAX: Final = 8
_LEVEL = 1  # 3 makes pages 2-4 % smaller and takes up to twice as long


class _Contexts(threading.local):
    """zstd's contexts may not be shared between threads, and making one costs more than a small frame."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_contexts = _Contexts()


def compress(data: bytes) -> bytes:
    """One zstd frame without its content's length. About 3 us for 1.5 KB, 20-250 us for a page."""
    return _contexts.compress(data)


def compress_all(bodies: Sequence[bytes]) -> list[bytes]:
    """One zstd frame for each body; on all processors if they are many, for zstd gives up the GIL."""
    most = min(_WORKERS_MAX, len(bodies) // _SHARE)
    workers = most if most < 2 else min(os.cpu_count() or 1, most)  # counting asks the system: not for small commits
    if workers < 2:
        return [compress(body) for body in bodies]
    from concurrent.futures import ThreadPoolExecutor

    shares = [bodies[at : at + _SHARE] for at in range(0, len(bodies), _SHARE)]
    with ThreadPoolExecutor(workers, "piecrust compression") as pool:
        done = pool.map(lambda share: [compress(body) for body in share], shares)
        return [frame for share in done for frame in share]


def decompress(data: bytes | memoryview, length_max: int) -> bytes:
    """The content of one zstd frame of at most `length_max` bytes.

    Raises:
        InvalidFormat: it is no such frame, or its content is longer.
    """
    try:
        # A length in the frame would be allocated as it stands: what we write has none (-1).
        if zstandard.frame_content_size(data) > length_max:
            raise InvalidFormat("zstd frame", f"more than {length_max} bytes")
        return _contexts.decompress(data, max_output_size=length_max)
    except zstandard.ZstdError as error:
        raise InvalidFormat("zstd frame", str(error)) from None
