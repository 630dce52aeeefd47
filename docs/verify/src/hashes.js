// blake3, whole and as a tree of chunks (docs/proofs.md, sections 1 and 4). The hash and its compression function are
// those of the package @noble/hashes.

import { blake3 } from "@noble/hashes/blake3";
import { compress } from "@noble/hashes/blake2";

import { encode, fail, joined } from "./encoding.js";

const IV = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const ROUNDS = 7;
const [CHUNK_START, CHUNK_END, PARENT, ROOT] = [1, 2, 4, 8];

const SCHEDULE = (() => {
  let order = [...Array(16).keys()];
  const all = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    all.push(...order);
    order = PERMUTATION.map((i) => order[i]);
  }
  return Uint8Array.from(all);
})();

export const ZERO = new Uint8Array(32);

export const hash = (bytes) => blake3(bytes);

export const keyed = (context, value) => blake3(encode(value), { context: new TextEncoder().encode(context) });

function compressed(value, block, counter, flags) {
  const view = new DataView(block.buffer, block.byteOffset, 64);
  const message = Uint32Array.from({ length: 16 }, (_, i) => view.getUint32(4 * i, true));
  const out = compress(SCHEDULE, 0, message, ROUNDS, ...value, ...IV.slice(0, 4), counter, 0, 64, flags);
  return [out.v0 ^ out.v8, out.v1 ^ out.v9, out.v2 ^ out.v10, out.v3 ^ out.v11].concat([
    out.v4 ^ out.v12, out.v5 ^ out.v13, out.v6 ^ out.v14, out.v7 ^ out.v15,
  ]);
}

function bytesOf(value) {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  value.forEach((word, i) => view.setUint32(4 * i, word >>> 0, true));
  return bytes;
}

// Of a chunk with this number, from its block `first` on; `value` are the eight words before it.
function chunkValue(number, first, value, blocks) {
  for (let n = first; n < 16; n += 1) {
    const flags = (n === 0 ? CHUNK_START : 0) | (n === 15 ? CHUNK_END : 0);
    value = compressed(value, blocks.subarray(64 * (n - first), 64 * (n - first) + 64), number, flags);
  }
  return bytesOf(value);
}

function wordsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 32);
  return Array.from({ length: 8 }, (_, i) => view.getUint32(4 * i, true));
}

// The hash of a page of which some chunks are known (a Map from their numbers to their first known blocks), and these
// chunks, zeros up to what is known.
export function slicedHash(known, siblings, data) {
  const chunks = new Map();
  let level = new Map();
  let read = 0;
  const take = (length) => {
    if (read + length > data.length) fail("a slice of another length");
    read += length;
    return data.subarray(read - length, read);
  };
  for (const [number, first] of [...known].sort(([a], [b]) => a - b)) {
    const value = first ? wordsOf(take(32)) : IV;
    const blocks = take(1024 - 64 * first);
    chunks.set(number, joined([new Uint8Array(64 * first), blocks]));
    level.set(number, chunkValue(number, first, value, blocks));
  }
  if (read !== data.length) fail("a slice of another length");
  let at = 0;
  for (let height = 0; height < 6; height += 1) {
    const above = new Map();
    for (const [index, value] of [...level].sort(([a], [b]) => a - b)) {
      if (above.has(index >> 1)) continue;
      let other = level.get(index ^ 1);
      if (other === undefined) {
        if (at + 32 > siblings.length) fail("too few chaining values");
        other = siblings.subarray(at, at + 32);
        at += 32;
      }
      const pair = joined(index & 1 ? [other, value] : [value, other]);
      above.set(index >> 1, bytesOf(compressed(IV, pair, 0, PARENT | (height === 5 ? ROOT : 0))));
    }
    level = above;
  }
  if (at !== siblings.length) fail("too many chaining values");
  return { hash: level.get(0), chunks };
}
