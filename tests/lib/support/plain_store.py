"""A reader of stores that follows docs/format.md and shares no code with the project: slow, plain, for reading
alone."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cbor2
import zstandard
from blake3 import blake3

RAW, ZSTD, DELTA = 0, 1, 2
PAGE, NODE, BYTECODE, RECORD, TRANSCRIPT, COMMIT, BLOB = range(1, 8)
CONTEXTS = {RECORD: "piecrust 2026 record", TRANSCRIPT: "piecrust 2026 transcript", COMMIT: "piecrust 2026 commit"}


class PlainStore:
    """A store as it is after a reboot: DURABLE says nothing."""

    def __init__(self, root: Path) -> None:
        text = (root / "FORMAT").read_text("ascii")
        body, _, checksum = text.rpartition("checksum ")
        assert checksum.strip() == blake3(body.encode()).hexdigest()
        assert body.splitlines()[:2] == ["piecrust store", "version 1"]
        self.objects: dict[tuple[int, bytes], tuple[int, bytes]] = {}  # (encoding, payload)
        self.flags: dict[bytes, int] = {}
        self.records: dict[int, list[Any]] = {}
        segments = sorted((root / "log").glob("*.seg"))
        active = segments[-1].read_bytes()
        checkpoint, *frames = self.frames(active, len(active))
        ledger = cbor2.loads(self.head(checkpoint)[1])
        self.refs = dict(ledger[0])
        self.exceptions = dict(ledger[1])
        packs, closed = ledger[6], ledger[5]
        self.take_in(active, [checkpoint, *frames], replay=True)
        for frame in frames:
            if frame[0] == 3:
                gone_segments, gone_packs, added, *_ = cbor2.loads(self.head(frame)[1])
                closed = [segment for segment in closed if segment[0] not in gone_segments]
                packs = [pack for pack in packs if pack[0] not in gone_packs] + added
        for number, end, chain, salt in closed:
            data = (root / "log" / f"{number:08d}.seg").read_bytes()
            found = self.frames(data, end)
            assert (found[-1][2], data[24:56]) == (chain, salt)
            self.take_in(data, found, replay=False)
        for name, length, salt in packs:
            data = (root / "packs" / f"{name.hex()}.pk").read_bytes()
            assert (len(data), blake3(data).digest(), data[24:56]) == (length, name, salt)
            magic, version, zeros, end, table = struct.unpack("<8sIIQQ", data[-64:-32])
            assert (magic, version, zeros) == (b"PIECRPAK", 1, 0)
            assert data[-32:] == blake3(data[-64:-32]).digest()
            assert end + table + 64 == len(data)
            self.check_table(data[end:-64], salt, end)
            self.take_in(data, self.frames(data, end), replay=False)

    def frames(self, data: bytes, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Type, body and chain of the frames that follow one another."""
        magic, version, zeros, _number, salt = struct.unpack("<8sIIQ32s", data[:56])
        assert (magic, version, zeros, data[56:64]) == (b"PIECRSEG", 1, 0, blake3(data[:56]).digest()[:8])
        found, at, previous = [], 64, bytes(16)
        while at + 64 <= limit:
            marker, kind, _zeros, length, _sequence, _synced, before = struct.unpack("<8sB3sIQQ16s", data[at : at + 48])
            body = data[at + 64 : at + 64 + length]
            chain = blake3(data[at : at + 48] + body, key=salt).digest()[:16]
            if marker != blake3(b"frame marker", key=salt).digest()[:8] or chain != data[at + 48 : at + 64]:
                break
            assert before == previous
            found.append((kind, body, chain))
            previous, at = chain, (at + 64 + length + 7) // 8 * 8
        return found

    def head(self, frame: tuple[int, bytes, bytes]) -> tuple[list[tuple[int, int, int, bytes, bytes]], bytes]:
        """Kind, encoding, flags, address and payload of a frame's objects; its meta."""
        body = frame[1]
        stored, length = struct.unpack("<II", body[:8])
        head = body[8 : 8 + stored]
        if stored < length:
            head = zstandard.ZstdDecompressor().decompress(head, max_output_size=length)
        assert len(head) == length
        count, meta_length = struct.unpack("<II", head[:8])
        meta_at = 8 + 40 * count
        inline, outside = meta_at + meta_length, 8 + stored
        objects = []
        for at in range(8, meta_at, 40):
            kind, encoding, flags, zero, size, address = struct.unpack("<BBBBI32s", head[at : at + 40])
            assert zero == 0
            assert bool(flags & 1) == (size <= 1024)
            if flags & 1:
                payload, inline = head[inline : inline + size], inline + size
            else:
                payload, outside = body[outside : outside + size], outside + size
            objects.append((kind, encoding, flags, address, payload))
        assert (inline, outside) == (len(head), len(body))
        return objects, head[meta_at : meta_at + meta_length]

    def take_in(self, data: bytes, frames: list[tuple[int, bytes, bytes]], *, replay: bool) -> None:
        next_operation = 0
        for frame in frames:
            objects, meta = self.head(frame)
            for kind, encoding, flags, address, payload in objects:
                self.objects[kind, address] = encoding, payload
                if kind == COMMIT:
                    self.flags[address] = flags
            match frame[0]:
                case 1:
                    next_operation = cbor2.loads(meta)[2]
                case 2:
                    for record in cbor2.loads(meta):
                        self.records[next_operation] = record
                        next_operation += 1
                        if replay:
                            self.refs |= {name: after for name, _, after in record[3]}
                            self.exceptions |= {c: True for c in record[4] if not self.flags.get(c, 0) & 2}
                            self.exceptions |= dict.fromkeys(record[5], False)
                case 5:
                    first, records = cbor2.loads(meta)
                    self.records |= dict(enumerate(records, start=first))
                case _:
                    pass

    def check_table(self, table: bytes, salt: bytes, end: int) -> None:
        magic, version, bits, n, m, k, s = struct.unpack("<8sIIQQQQ", table[:48])
        assert (magic, version, s) == (b"PIECRTAB", 1, 1)
        assert struct.unpack("<32sQQ", table[64:112]) == (salt, 64, end)
        columns_length, starts = 0, []
        for size in (8 * n, 20 * n, 8 * m, 64 * m, 8 * m, 4 * m, 16 * k):
            columns_length = (columns_length + 7) // 8 * 8
            starts.append(columns_length)
            columns_length += size
        blocks = -(-columns_length // 4096)
        columns = table[len(table) - columns_length :]
        assert table[48:64] == blake3(table[:48] + table[64 : len(table) - columns_length]).digest()[:16]
        fan_at = 112 + 4 * blocks
        fan = struct.unpack(f"<{2**bits + 1}I", table[fan_at : fan_at + 4 * (2**bits + 1)])
        assert fan[-1] == n
        keys = struct.unpack(f"<{n}Q", columns[starts[0] : starts[0] + 8 * n])
        assert list(keys) == sorted(keys)

    def body(self, kind: int, address: bytes) -> bytes:
        """An object, verified where that takes no more than a hash."""
        encoding, payload = self.objects[kind, address]
        if encoding == ZSTD:
            payload = zstandard.ZstdDecompressor().decompress(payload, max_output_size=1 << 26)
        elif encoding == DELTA:
            base, patch = bytearray(self.body(kind, payload[:32])), payload[32:]
            payload = bytes(_patched_node(base, patch) if kind == NODE else _patched(base, patch))
        if kind in (PAGE, BYTECODE, BLOB):
            assert blake3(payload).digest() == address
        elif kind in (RECORD, TRANSCRIPT):
            assert blake3(payload, derive_key_context=CONTEXTS[kind]).digest() == address
        return payload

    def commit(self, identity: bytes) -> dict[str, Any]:
        """A commit's fields."""
        version, generation, depth, parents, jump, content = cbor2.loads(self.body(COMMIT, identity))
        content_context = "piecrust 2026 commit content"
        hashed = blake3(cbor2.dumps(content, canonical=True), derive_key_context=content_context).digest()
        link = cbor2.dumps([version, generation, depth, parents, jump, hashed], canonical=True)
        assert blake3(link, derive_key_context=CONTEXTS[COMMIT]).digest() == identity
        return {"parents": parents, "state_root": content[0], "map_root": content[1]}

    def kept(self) -> set[bytes]:
        """The commits that are kept."""
        return {c for c, flags in self.flags.items() if self.exceptions.get(c, bool(flags & 2))}

    def leaves(self, arity: int, height: int, root: bytes) -> dict[int, bytes]:
        """The leaves of a tree by their positions."""
        if root == bytes(32):
            return {}
        if height == 0:
            return {0: root}
        body = self.body(NODE, root)
        version, of_arity, levels, stem = struct.unpack(">BBBI", body[:7])
        assert (version, of_arity) == (1, arity)
        below = height - levels
        found = {}
        for at in range(7, len(body), 33):
            index, child = stem * 256 + body[at], body[at + 1 : at + 33]
            for position, leaf in ({0: child} if below == 0 else self.leaves(arity, below, child)).items():
                found[index * arity**below + position] = leaf
        return found

    def pages(self, commit: bytes) -> dict[int, bytes]:
        """The pages of a commit's only contract."""
        (record,) = self.leaves(2, 32, self.commit(commit)["map_root"]).values()
        *_, bits, _length, root, _position = cbor2.loads(self.body(RECORD, record))
        leaves = self.leaves(4, 8 if bits == 32 else 13, root)
        return {index: self.body(PAGE, address) for index, address in leaves.items()}


def _patched(base: bytearray, patch: bytes) -> bytearray:
    at = 0
    while at < len(patch):
        offset, length = patch[at] | patch[at + 1] << 8, patch[at + 2] + 1
        base[offset : offset + length] = patch[at + 3 : at + 3 + length]
        at += 3 + length
    return base


def _patched_node(base: bytearray, patch: bytes) -> bytes:
    children = {base[at]: bytes(base[at + 1 : at + 33]) for at in range(7, len(base), 33)}
    children |= {patch[at]: patch[at + 1 : at + 33] for at in range(0, len(patch), 33)}
    return bytes(base[:7]) + b"".join(bytes([index]) + children[index] for index in sorted(children))
