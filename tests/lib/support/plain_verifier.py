"""A second verifier of proofs, written from docs/proofs.md alone: plain, recursive, without the project's code.

`check(proof)` returns what is claimed as nested tuples, or raises `Refused`. It is slow, and made to be compared.
"""

from __future__ import annotations

import itertools
import zlib

from blake3 import blake3

ZERO = bytes(32)
PAGE = 65536


class Refused(Exception):
    """The proof doesn't hold."""


def need(condition: object) -> None:
    if not condition:
        raise Refused


# Section 1 of the document.


def H(data: bytes) -> bytes:  # noqa: N802 - the document's name
    return blake3(data).digest()


def K(context: str, data: bytes) -> bytes:  # noqa: N802
    return blake3(data, derive_key_context=context).digest()


class Input:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.items = data, 0, 0

    def take(self, count: int) -> bytes:
        need(count <= len(self.data) - self.at)
        self.at += count
        return self.data[self.at - count : self.at]

    def value(self, depth: int = 0):
        self.items += 1
        need(self.items <= 1 << 20)
        head = self.take(1)[0]
        major, low = divmod(head, 32)
        if major == 7:
            need(low in (20, 21, 22))
            return {20: False, 21: True, 22: None}[low]
        need(low <= 27)
        number = low if low < 24 else int.from_bytes(self.take(1 << low - 24), "big")
        need(low < 24 or number >= (24 if low == 24 else 1 << 4 * (1 << low - 24)))
        if major == 0:
            return number
        if major == 2:
            return self.take(number)
        if major == 3:
            try:
                return self.take(number).decode()
            except UnicodeDecodeError:
                raise Refused from None
        need(depth < 12 or number == 0)
        if major == 4:
            need(number <= len(self.data) - self.at)
            return tuple(self.value(depth + 1) for _ in range(number))
        need(major == 5)
        need(number <= len(self.data) - self.at)
        made, before = {}, None
        for _ in range(number):
            start = self.at
            key = self.value(depth + 1)
            raw = self.data[start : self.at]
            need(isinstance(key, str) and (before is None or (len(before), before) < (len(raw), raw)))
            made[key], before = self.value(depth + 1), raw
        return made


def read(proof: bytes):
    need(len(proof) <= 1 << 27)
    source = Input(proof)
    value = source.value()
    need(source.at == len(proof))
    return value


def cbor(value: object) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return head(4, len(value)) + b"".join(map(cbor, value))
    keys = sorted(value, key=lambda key: (len(cbor(key)), cbor(key)))
    return head(5, len(value)) + b"".join(cbor(key) + cbor(value[key]) for key in keys)


def head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major * 32 + number])
    size = next(size for size in (1, 2, 4, 8) if number < 256**size)
    return bytes([major * 32 + {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + number.to_bytes(size, "big")


def number(value: object, most: int) -> int:
    need(type(value) is int and 0 <= value <= most)
    return value


def bytes32(value: object) -> bytes:
    need(isinstance(value, bytes) and len(value) == 32)
    return value


def array(value: object, length: int | None = None) -> tuple:
    need(isinstance(value, tuple) and length in (None, len(value)))
    return value


def rising(values: list) -> None:
    need(all(a < b for a, b in itertools.pairwise(values)))


# Section 2 of the document.


def record(value: object) -> tuple[dict, bytes]:
    version, name, code, owner, bits, length, root, position = array(value, 8)
    need(version == 1 and type(version) is int)
    need(isinstance(owner, bytes) and len(owner) <= 65536)
    need(bits in (32, 64) and type(bits) is int)
    made = {
        "id": bytes32(name),
        "bytecode": bytes32(code),
        "owner": owner,
        "bits": bits,
        "length": number(length, 2**42),
        "pages": bytes32(root),
        "position": number(position, 2**32 - 1),
    }
    need(position > 0)
    return made, K("piecrust 2026 record", cbor(value))


def link_id(link: tuple) -> bytes:
    version, generation, depth, parents, jump, content = array(link, 6)
    need(version == 1 and type(version) is int)
    number(generation, 2**64 - 1)
    number(depth, 2**64 - 1)
    for parent in array(parents):
        bytes32(parent)
    need(jump is None or bytes32(jump))
    bytes32(content)
    return K("piecrust 2026 commit", cbor(link))


def commit(value: object) -> tuple[bytes, bytes, bytes]:
    """Its id, state root and map root."""
    *place, content = array(value, 6)
    root, map_root, positions, transcript, note = array(content, 5)
    bytes32(root), bytes32(map_root), number(positions, 2**32 - 1)
    need(transcript is None or bytes32(transcript))
    need(isinstance(note, dict) and set(note) <= {"author", "message", "time"})
    for field, kind in (("author", str), ("message", str), ("time", int)):
        need(field not in note or type(note[field]) is kind)
    return link_id((*place, K("piecrust 2026 commit content", cbor(content)))), root, map_root


def key(name: bytes) -> int:
    return sum(int.from_bytes(name[at : at + 4], "little") for at in range(0, 32, 4)) % 2**32


# Section 3 of the document.

budget = {"nodes": 0}


class Shown:
    """A shown tree, evaluated on one or two sides at once."""

    def __init__(self, tree: object, arity: int, height: int, leaf, sides: int = 1) -> None:
        codes, hashes = array(tree, 2)
        need(isinstance(codes, bytes) and isinstance(hashes, bytes))
        budget["nodes"] += len(codes)
        need(budget["nodes"] <= 1 << 18)
        self.codes, self.hashes = list(reversed(codes)), hashes
        self.arity, self.height, self.leaf, self.sides = arity, height, leaf, sides
        self.empty: set[tuple[int, int]] = set()
        if codes:
            self.roots = [root or ZERO for root in self.node(height, 0)]
            need(not self.codes and not self.hashes)
        else:
            need(len(hashes) in (0, 32) and hashes != ZERO)
            self.roots = [hashes or ZERO] * sides
            if not hashes:
                self.empty.add((height, 0))

    def node(self, height: int, place: int) -> list[bytes | None]:
        need(self.codes)
        code = self.codes.pop()
        need(code not in (0, sum(1 << 2 * i for i in range(self.arity))))
        children = [self.child(code >> 2 * i & 3, height - 1, place * self.arity + i) for i in range(self.arity)]
        need(code >> 2 * self.arity == 0)
        found: list[bytes | None] = []
        for side in range(self.sides):
            hashes = [child[side] for child in children]
            missing = all(one is None for one in hashes)
            found.append(None if missing else H(b"".join(ZERO if one is None else one for one in hashes)))
        return found

    def child(self, state: int, height: int, place: int) -> list[bytes | None]:
        need(state != 3)
        if state == 0:
            self.empty.add((height, place))
            return [None] * self.sides
        if state == 1:
            pruned, self.hashes = self.hashes[:32], self.hashes[32:]
            need(bytes32(pruned) != ZERO)
            return [pruned] * self.sides
        return self.leaf(place) if height == 0 else self.node(height, place)

    def shows_empty(self, position: int) -> bool:
        return any((h, position // self.arity**h) in self.empty for h in range(self.height + 1))


# Section 4 of the document.

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]


def rotated(x: int, by: int) -> int:
    return (x >> by | x << 32 - by) % 2**32


def compressed(value: list[int], block: bytes, counter: int, flags: int) -> list[int]:
    m = [int.from_bytes(block[at : at + 4], "little") for at in range(0, 64, 4)]
    v = value + IV[:4] + [counter, 0, 64, flags]

    def g(a: int, b: int, c: int, d: int, x: int, y: int) -> None:
        for word, first, second in ((x, 16, 12), (y, 8, 7)):
            v[a] = (v[a] + v[b] + word) % 2**32
            v[d] = rotated(v[d] ^ v[a], first)
            v[c] = (v[c] + v[d]) % 2**32
            v[b] = rotated(v[b] ^ v[c], second)

    for _ in range(7):
        for i in range(4):
            g(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1])
        for i in range(4):
            g(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i], m[9 + 2 * i])
        m = [m[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def as_bytes(value: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in value)


def chunk_value(i: int, first: int, value: list[int], blocks: bytes) -> bytes:
    """Of the chunk i, with the chaining value before its block `first`, and the blocks from there on."""
    for n in range(first, 16):
        value = compressed(value, blocks[64 * (n - first) :][:64], i, (n == 0) * 1 + (n == 15) * 2)
    return as_bytes(value)


def sliced(known: dict[int, int], siblings: bytes, chunks: bytes) -> tuple[bytes, dict[int, bytes]]:
    """The leaf, and the known bytes at the end of each chunk; `known` has the first block of each chunk."""
    level, tails = {}, {}
    for i in sorted(known):
        value = IV
        if known[i]:
            state, chunks = bytes32(chunks[:32]), chunks[32:]
            value = [int.from_bytes(state[at : at + 4], "little") for at in range(0, 32, 4)]
        length = 1024 - 64 * known[i]
        tails[i], chunks = chunks[:length], chunks[length:]
        need(len(tails[i]) == length)
        level[i] = chunk_value(i, known[i], value, tails[i])
    need(not chunks)
    for height in range(6):
        above = {}
        for j in range(32 >> height):
            pair = [level.get(2 * j), level.get(2 * j + 1)]
            if pair == [None, None]:
                continue
            if None in pair:
                pair[pair.index(None)], siblings = bytes32(siblings[:32]), siblings[32:]
            above[j] = as_bytes(compressed(IV, b"".join(pair), 0, 4 + 8 * (height == 5)))
        level = above
    need(not siblings)
    return level[0], tails


# Section 5 of the document.


class Memory:
    def __init__(self, bits: object, memory: object, count: dict[str, int]) -> None:
        tree, pages, ranges, absent = array(memory, 4)
        need(bits in (32, 64) and type(bits) is int)
        height = 8 if bits == 32 else 13
        self.whole: dict[int, bytes] = {}
        self.tails: dict[tuple[int, int], bytes] = {}
        self.count = count
        self.ranges = [tuple(array(pair, 2)) for pair in array(ranges)]
        self.absent = [number(page, 2**64 - 1) for page in array(absent)]
        touched: dict[int, dict[int, int]] = {}
        for offset, length in self.ranges:
            number(offset, 2**64), number(length, 1 << 24)
            count["bytes"] += length
            need(count["bytes"] <= 1 << 24)
            need(length >= 1 and offset + length <= PAGE * 4**height)
            for block in range(offset // 64, (offset + length - 1) // 64 + 1):
                chunks = touched.setdefault(block // 1024, {})
                chunk, within = block // 16 % 64, block % 16
                chunks[chunk] = min(within, chunks.get(chunk, within))
        rising(self.ranges)
        rising(self.absent)
        count["absences"] += len(self.absent)
        need(count["absences"] <= 1 << 16)
        self.touched, self.queue = touched, list(reversed(array(pages)))
        self.shown = Shown(tree, 4, height, self.page)
        self.root = self.shown.roots[0]
        need(not self.queue)
        here = {*self.whole, *[page for page, _ in self.tails]}
        need(here or self.ranges or self.absent)
        need(all(page in here or self.shown.shows_empty(page) for page in touched))
        need(all(self.shown.shows_empty(page) for page in self.absent))

    def page(self, index: int) -> list[bytes]:
        need(self.queue)
        self.count["pages"] += 1
        need(self.count["pages"] <= 4096)
        form = array(self.queue.pop())
        need(form and type(form[0]) is int)
        if form[0] == 2:
            _, siblings, chunks = array(form, 3)
            need(isinstance(siblings, bytes) and isinstance(chunks, bytes) and index in self.touched)
            self.count["chunks"] += len(self.touched[index])
            need(self.count["chunks"] <= 1 << 13)
            leaf, tails = sliced(self.touched[index], siblings, chunks)
            self.tails |= {(index, i): tail for i, tail in tails.items()}
            return [leaf]
        _, data = array(form, 2)
        need(form[0] in (0, 1) and isinstance(data, bytes))
        if form[0] == 1:
            need(len(data) < PAGE)
            inflate = zlib.decompressobj(-15)
            try:
                data = inflate.decompress(data, PAGE + 1)
            except zlib.error:
                raise Refused from None
            need(inflate.eof and not inflate.unused_data)
        need(len(data) == PAGE)
        self.whole[index] = data
        return [H(data)]

    def byte_range(self, offset: int, length: int) -> bytes:
        made = b""
        for n in range(offset // 1024, (offset + length - 1) // 1024 + 1):
            page, chunk = divmod(n, 64)
            if page in self.whole:
                made += self.whole[page][1024 * chunk : 1024 * chunk + 1024]
            else:
                made += self.tails.get((page, chunk), b"").rjust(1024, b"\0")
        return made[offset % 1024 :][:length]

    def claims(self, about: object) -> list[tuple]:
        return (
            [("page", about, index, data) for index, data in self.whole.items()]
            + [("range", about, offset, self.byte_range(offset, length)) for offset, length in self.ranges]
            + [("no page", about, index) for index in self.absent]
        )


def state(anchor: object, contract_map: object, tree: object, contracts: object, absent: object) -> tuple:
    count = {"pages": 0, "bytes": 0, "chunks": 0, "absences": len(array(absent))}
    need(len(absent) <= 1 << 16)
    if isinstance(anchor, bytes):
        need(contract_map is None and absent == ())
        return under_root(bytes32(anchor), tree, array(contracts), count)
    name, root, map_root = commit(anchor)
    parts = []
    for entry in array(contracts):
        value, memory = array(entry, 2)
        fields, address = record(value)
        parts.append((fields, address, None if memory is None else Memory(fields["bits"], memory, count)))
        need(memory is None or parts[-1][2].root == fields["pages"])
        need(memory is None or all(sum(one) <= fields["length"] for one in parts[-1][2].ranges))
    queue = list(reversed(parts))

    def record_leaf(place: int) -> list[bytes]:
        need(queue)
        fields, address, _ = queue.pop()
        need(key(fields["id"]) == place)
        return [address]

    shown = Shown(contract_map, 2, 32, record_leaf)
    need(shown.roots[0] == map_root and not queue)
    rising([bytes32(missing) for missing in absent])
    here = {key(fields["id"]): fields["id"] for fields, _, _ in parts}
    for missing in absent:
        need(here[key(missing)] != missing if key(missing) in here else shown.shows_empty(key(missing)))
    parts.sort(key=lambda part: part[0]["position"])
    waiting = list(reversed(parts))

    def root_leaf(place: int) -> list[bytes]:
        need(waiting)
        fields = waiting.pop()[0]
        need(fields["position"] == place)
        return [fields["pages"]]

    need(Shown(tree, 2, 32, root_leaf).roots[0] == root and not waiting)
    claims = []
    for fields, _, memory in parts:
        claims.append(("contract", tuple(fields.values())))
        claims += [] if memory is None else memory.claims(fields["id"])
    claims += [("no contract", missing) for missing in absent]
    need(claims)
    return ("state", name, root, tuple(claims))


def under_root(root: bytes, tree: object, contracts: tuple, count: dict[str, int]) -> tuple:
    claims: list[tuple] = []
    queue = list(reversed([array(entry, 2) for entry in contracts]))
    # Memories are checked whether or not the tree is right.
    made = [None if bits is None else Memory(bits, memory, count) for bits, memory in map(array, contracts)]
    memories = list(reversed(made))

    def leaf(place: int) -> list[bytes]:
        need(queue)
        bits, given = queue.pop()
        memory = memories.pop()
        pages = bytes32(given) if memory is None else memory.root
        need(pages != ZERO)
        need(memory is None or memory.whole or memory.tails)
        claims.append(("position", place, pages, bits))
        claims.extend([] if memory is None else memory.claims(place))
        return [pages]

    need(Shown(tree, 2, 32, leaf).roots[0] == root and not queue and claims)
    return ("state", None, root, tuple(claims))


# Section 6 of the document.


def jump_depth(depth: int) -> int:
    rest, term = depth, 0
    while rest:
        k = 1
        while 2 ** (k + 1) - 1 <= rest:
            k += 1
        term = 2**k - 1
        rest -= term
    return depth - term


def ancestry(links: object) -> tuple:
    names = [link_id(link) for link in array(links)]
    need(2 <= len(names) <= 4096)
    for before, link, name in zip(links, links[1:], names[1:], strict=False):
        _, generation, depth, parents, jump, _ = before
        first = parents[:1] == (name,) and link[2] == depth - 1
        other = name in parents[1:]
        # A first parent's depth is checked as one, even where it is the jump as well.
        by_jump = jump == name and link[2] == jump_depth(depth) and parents[:1] != (name,)
        need((first or by_jump or other) and not (parents[:1] == (name,) and not first) and link[1] < generation)
    return ("ancestry", names[-1], names[0])


# Section 7 of the document.


def difference(old: object, new: object, contract_map: object, tree: object, contracts: object) -> tuple:
    (old_name, old_root, old_map), (new_name, new_root, new_map) = commit(old), commit(new)
    queue = list(reversed(array(contracts)))
    found: list[tuple] = []
    stands: list[dict[int, bytes]] = [{}, {}]  # position -> pages root, on each side

    def leaf(place: int) -> list[bytes | None]:
        need(queue)
        was, now, trees = array(queue.pop(), 3)
        sides = [None if value is None else record(value) for value in (was, now)]
        for side, at in zip(sides, stands, strict=True):
            if side is not None:
                need(side[0]["position"] not in at)
                at[side[0]["position"]] = side[0]["pages"]
        addresses = [None if side is None else side[1] for side in sides]
        need(addresses[0] != addresses[1])
        need(all(side is None or key(side[0]["id"]) == place for side in sides))
        found.extend(pages_of(*[side and side[0] for side in sides], list(reversed(array(trees)))))
        return addresses

    shown = Shown(contract_map, 2, 32, leaf, sides=2)
    need(shown.roots == [old_map, new_map] and not queue)
    positions = sorted({*stands[0], *stands[1]}, reverse=True)

    def state_leaf(place: int) -> list[bytes | None]:
        need(positions and positions.pop() == place)
        return [at.get(place) for at in stands]

    need(Shown(tree, 2, 32, state_leaf, sides=2).roots == [old_root, new_root] and not positions)
    return ("difference", old_name, new_name, tuple(found))


def pages_of(old: dict | None, new: dict | None, trees: list) -> list[tuple]:
    if old and new and old["id"] == new["id"]:
        if old["bits"] == new["bits"]:
            pages = pair(old["bits"], [old["pages"], new["pages"]], trees)
        else:
            went, came = pair(old["bits"], [old["pages"], ZERO], trees), pair(new["bits"], [ZERO, new["pages"]], trees)
            pages = {i: (went.get(i, (None, None))[0], came.get(i, (None, None))[1]) for i in {*went, *came}}
        made = [(old["id"], True, True, pages)]
    else:
        made = []
        if old:
            made.append((old["id"], True, False, pair(old["bits"], [old["pages"], ZERO], trees)))
        if new:
            made.append((new["id"], False, True, pair(new["bits"], [ZERO, new["pages"]], trees)))
    need(not trees)
    return [
        (name, was, now, tuple((i, *pages[i]) for i in sorted(pages) if pages[i][0] != pages[i][1]))
        for name, was, now, pages in made
    ]


def pair(bits: int, roots: list[bytes], trees: list) -> dict:
    if roots[0] == roots[1]:
        return {}
    need(trees)
    tree, pages = array(trees.pop(), 2)
    queue, found = list(reversed(array(pages))), {}

    def leaf(place: int) -> list[bytes | None]:
        need(queue)
        was, now = array(queue.pop(), 2)
        need(was != now and (was is None or bytes32(was) != ZERO) and (now is None or bytes32(now) != ZERO))
        found[place] = was, now
        return [was, now]

    need(Shown(tree, 4, 8 if bits == 32 else 13, leaf, sides=2).roots == roots and not queue)
    return found


def check(proof: bytes) -> tuple:
    """What the proof claims."""
    budget["nodes"] = 0
    fields = array(read(proof))
    need(len(fields) > 2 and fields[:2] == ("piecrust proof", 1) and type(fields[1]) is int and type(fields[2]) is int)
    kinds = {0: (state, 8), 1: (ancestry, 4), 2: (difference, 8)}
    need(fields[2] in kinds)
    function, length = kinds[fields[2]]
    need(len(fields) == length)
    return function(*fields[3:])
