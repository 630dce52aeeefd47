"""How modules are written, and the types of operators: independent of the code that it tests."""

from __future__ import annotations

I32, I64, F32, F64, V128, FUNCREF, EXTERNREF = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B, 0x70, 0x6F
NUMBERS = (I32, I64, F32, F64, V128)
REFERENCES = (FUNCREF, EXTERNREF)

i, j, f, d, v = I32, I64, F32, F64, V128


def _numeric() -> list[tuple[bytes, tuple[int, ...], int]]:
    """(opcode, parameters, result) of every operator that only computes."""
    table: list[tuple[bytes, tuple[int, ...], int]] = []

    def add(first: int, last: int, params: tuple[int, ...], result: int, prefix: bytes = b"") -> None:
        for opcode in range(first, last + 1):
            code = bytes((opcode,)) if not prefix else prefix + unsigned(opcode)
            table.append((code, params, result))

    for first, last, params, result in (
        (0x45, 0x45, (i,), i), (0x46, 0x4F, (i, i), i), (0x50, 0x50, (j,), i), (0x51, 0x5A, (j, j), i),
        (0x5B, 0x60, (f, f), i), (0x61, 0x66, (d, d), i), (0x67, 0x69, (i,), i), (0x6A, 0x6C, (i, i), i),
        (0x71, 0x78, (i, i), i), (0x79, 0x7B, (j,), j), (0x7C, 0x7E, (j, j), j), (0x83, 0x8A, (j, j), j),
        (0x8B, 0x91, (f,), f), (0x92, 0x98, (f, f), f), (0x99, 0x9F, (d,), d), (0xA0, 0xA6, (d, d), d),
        (0xA7, 0xA7, (j,), i), (0xAC, 0xAD, (i,), j), (0xB2, 0xB3, (i,), f), (0xB4, 0xB5, (j,), f),
        (0xB6, 0xB6, (d,), f), (0xB7, 0xB8, (i,), d), (0xB9, 0xBA, (j,), d), (0xBB, 0xBB, (f,), d),
        (0xBC, 0xBC, (f,), i), (0xBD, 0xBD, (d,), j), (0xBE, 0xBE, (i,), f), (0xBF, 0xBF, (j,), d),
        (0xC0, 0xC1, (i,), i), (0xC2, 0xC4, (j,), j),
    ):  # fmt: skip
        add(first, last, params, result)
    for first, last, params, result in (
        (0, 1, (f,), i), (2, 3, (d,), i), (4, 5, (f,), j), (6, 7, (d,), j),
    ):  # fmt: skip
        add(first, last, params, result, b"\xfc")
    return table


def _trapping() -> list[tuple[bytes, tuple[int, ...], int]]:
    table = [(bytes((opcode,)), (i, i), i) for opcode in range(0x6D, 0x71)]
    table += [(bytes((opcode,)), (j, j), j) for opcode in range(0x7F, 0x83)]
    for first, source, result in ((0xA8, f, i), (0xAA, d, i), (0xAE, f, j), (0xB0, d, j)):
        table += [(bytes((first + signed,)), (source,), result) for signed in (0, 1)]
    return table


def _vector() -> list[tuple[int, tuple[int, ...], int, int]]:
    """(operator, parameters, result, number of lanes or 0)."""
    table: list[tuple[int, tuple[int, ...], int, int]] = [(0x0E, (v, v), v, 0), (0x52, (v, v, v), v, 0)]
    table += [(0x0F + k, (source,), v, 0) for k, source in enumerate((i, i, i, j, f, d))]
    for operator, lanes, scalar, extracts in (
        (0x15, 16, i, 2), (0x18, 8, i, 2), (0x1B, 4, i, 1), (0x1D, 2, j, 1), (0x1F, 4, f, 1), (0x21, 2, d, 1),
    ):  # fmt: skip
        table += [(operator + k, (v,), scalar, lanes) for k in range(extracts)]
        table.append((operator + extracts, (v, scalar), v, lanes))
    unary = [0x4D, 0x5E, 0x5F, 0x60, 0x61, 0x62, *range(0x67, 0x6B), 0x74, 0x75, 0x7A, *range(0x7C, 0x82)]
    unary += [*range(0x87, 0x8B), 0x94, 0xA0, 0xA1, *range(0xA7, 0xAB), 0xC0, 0xC1, *range(0xC7, 0xCB)]
    unary += [0xE0, 0xE1, 0xE3, 0xEC, 0xED, 0xEF, *range(0xF8, 0x100)]
    tests = [0x53, 0x63, 0x64, 0x83, 0x84, 0xA3, 0xA4, 0xC3, 0xC4]
    shifts = [*range(0x6B, 0x6E), *range(0x8B, 0x8E), *range(0xAB, 0xAE), *range(0xCB, 0xCE)]
    unused = set(bytes.fromhex("9a a2 a5 a6 af b0 b2 b3 b4 bb c2 c5 c6 cf d0 d2 d3 d4 e2 ee"))
    table += [(operator, (v,), v, 0) for operator in unary]
    table += [(operator, (v,), i, 0) for operator in tests]
    table += [(operator, (v, i), v, 0) for operator in shifts]
    known = unused | {entry[0] for entry in table} | set(range(0x54, 0x5E))
    table += [(operator, (v, v), v, 0) for operator in range(0x23, 0x100) if operator not in known]
    return table


LOADS = {  # opcode: (result, width)
    0x28: (i, 4), 0x29: (j, 8), 0x2A: (f, 4), 0x2B: (d, 8), 0x2C: (i, 1), 0x2D: (i, 1), 0x2E: (i, 2), 0x2F: (i, 2),
    0x30: (j, 1), 0x31: (j, 1), 0x32: (j, 2), 0x33: (j, 2), 0x34: (j, 4), 0x35: (j, 4),
}  # fmt: skip
STORES = {
    0x36: (i, 4), 0x37: (j, 8), 0x38: (f, 4), 0x39: (d, 8), 0x3A: (i, 1), 0x3B: (i, 2), 0x3C: (j, 1), 0x3D: (j, 2),
    0x3E: (j, 4),
}  # fmt: skip
VECTOR_LOADS = {0: 16, 1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 0x5C: 4, 0x5D: 8}
LANE_WIDTHS = {0: 1, 1: 2, 2: 4, 3: 8}  # 0x54 + k loads, 0x58 + k stores


def unsigned(value: int, padding: int = 0) -> bytes:
    """LEB128, with `padding` bytes more than need be."""
    out = bytearray()
    while value > 0x7F or padding > 0:
        if value <= 0x7F:
            padding -= 1
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def vector(items: list[bytes]) -> bytes:
    """A vector of encoded items."""
    return unsigned(len(items)) + b"".join(items)


def section(identifier: int, body: bytes) -> bytes:
    """A section."""
    return bytes((identifier,)) + unsigned(len(body)) + body


def name(text: str) -> bytes:
    """A string."""
    return unsigned(len(text.encode())) + text.encode()


NUMERIC, TRAPPING, VECTOR = _numeric(), _trapping(), _vector()
