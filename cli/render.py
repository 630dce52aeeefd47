"""Values, ids, sizes and tables as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHORT_HEX_DIGITS = 12


def short(identifier: bytes) -> str:
    """The first hex digits of an id: enough to type, long enough to be unique.

    >>> short(bytes(32))
    '000000000000'
    """
    return identifier.hex()[:SHORT_HEX_DIGITS]


def size(count: int) -> str:
    """A number of bytes in binary units.

    >>> [size(n) for n in (0, 1023, 1536, 3 << 20, 5 << 30)]
    ['0 B', '1,023 B', '1.5 KiB', '3.0 MiB', '5.0 GiB']
    """
    if count < 1024:
        return f"{count:,} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:,.1f} {unit}"
    return f"{amount / 1024:,.1f} TiB"


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "page"), count(2, "deploy"), count(0, "query")
    ('1 page', '2 deploys', '0 queries')
    """
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and not noun.endswith(("ay", "oy")) else f"{noun}s"
    return f"{number:,} {plural}"


def table(rows: Sequence[Sequence[str]], headings: Sequence[str] = ()) -> list[str]:
    """Rows in columns, each as wide as its widest cell; colours do not count.

    >>> table([["a", "bb"], ["ccc", "d"]], ["x", "y"])
    ['x    y', 'a    bb', 'ccc  d']
    """
    every = [list(headings), *rows] if headings else list(rows)
    if not every:
        return []
    widths = [max(visible_width(row[column]) for row in every) for column in range(len(every[0]))]
    return [
        "  ".join(cell + " " * (width - visible_width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]


def visible_width(text: str) -> int:
    r"""The width of `text` without colour codes.

    >>> visible_width("\x1b[31mred\x1b[0m")
    3
    """
    width = 0
    inside = False
    for character in text:
        if character == "\x1b":
            inside = True
        elif inside:
            inside = character != "m"
        else:
            width += 1
    return width


def fields(pairs: Mapping[str, str], indent: str = "") -> list[str]:
    """Names and values, the values aligned.

    >>> fields({"root": "00", "message": "m"})
    ['root     00', 'message  m']
    """
    widest = max(map(len, pairs), default=0)
    return [f"{indent}{name:<{widest}}  {value}".rstrip() for name, value in pairs.items()]


def printable(data: bytes) -> str:
    r"""Bytes as text where they are printable ASCII, a dot elsewhere (the right side of a hex dump).

    >>> printable(b"ab\x00~")
    'ab.~'
    """
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def hex_dump(data: bytes, offset: int = 0) -> list[str]:
    """Sixteen bytes a line: offset, hex, text.

    >>> hex_dump(b"counter", 0x10)
    ['00000010  63 6f 75 6e 74 65 72                             |counter|']
    """
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        lines.append(f"{offset + start:08x}  {row.hex(' '):<47}  |{printable(row)}|")
    return lines


def seconds_since(then: float, now: float) -> str:
    """How long ago, coarsely.

    >>> seconds_since(0, 59), seconds_since(0, 7200), seconds_since(0, 200000)
    ('59 seconds ago', '2 hours ago', '2 days ago')
    """
    passed = max(0, int(now - then))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if passed >= length:
            return f"{count(passed // length, unit)} ago"
    return f"{count(passed, 'second')} ago"
