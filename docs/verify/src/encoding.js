// The encoding of proofs: canonical CBOR, the part of it that they use, and checks of what was read.
// See docs/proofs.md, section 1. Numbers above 2^53 are BigInts; no rule of a proof counts with them.

export class InvalidProof extends Error {}

export function fail(reason) {
  throw new InvalidProof(reason);
}

const PROOF_BYTES_MAX = 2 ** 27;
const ITEMS_MAX = 2 ** 20;
const NESTING_MAX = 12;

export function decode(bytes) {
  if (bytes.length > PROOF_BYTES_MAX) fail("too long");
  const value = read(bytes);
  if (!equal(encode(value), bytes)) fail("not the canonical encoding of its content");
  return value;
}

function read(bytes) {
  let at = 0;
  let items = 0;
  const open = []; // what was read of each open array or map, and how long it will be
  for (;;) {
    items += 1;
    if (at >= bytes.length || items > ITEMS_MAX) fail("it ends too early, or has too many items");
    const major = bytes[at] >> 5;
    let number = bytes[at] & 31;
    at += 1;
    if (number >= 24 && number <= 27 && major !== 7) {
      const length = 2 ** (number - 24);
      if (at + length > bytes.length) fail("it ends too early");
      number = integer(bytes.subarray(at, at + length));
      at += length;
    } else if (number > 23) {
      fail("an item of no known kind");
    }
    if (major >= 2 && major <= 5 && number > bytes.length - at) fail("it ends too early");
    let value;
    if (major === 0) {
      value = number;
    } else if (major === 2) {
      value = bytes.subarray(at, at + number);
      at += number;
    } else if (major === 3) {
      value = text(bytes.subarray(at, at + number));
      at += number;
    } else if (major === 4 || major === 5) {
      if (number > 0) {
        if (open.length >= NESTING_MAX) fail("nested too deeply");
        open.push({ inside: [], length: major === 5 ? 2 * number : number, isMap: major === 5 });
        continue;
      }
      value = major === 5 ? new Map() : [];
    } else if (major === 7 && number >= 20 && number <= 22) {
      value = [false, true, null][number - 20];
    } else {
      fail("an item of no known kind");
    }
    for (;;) {
      if (open.length === 0) {
        if (at !== bytes.length) fail("something follows its end");
        return value;
      }
      const last = open[open.length - 1];
      last.inside.push(value);
      if (last.inside.length < last.length) break;
      open.pop();
      value = last.isMap ? map(last.inside) : last.inside;
    }
  }
}

function integer(bytes) {
  const big = bytes.reduce((number, byte) => number * 256n + BigInt(byte), 0n);
  return big <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(big) : big;
}

function text(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    fail("a text is not UTF-8");
  }
}

function map(inside) {
  const made = new Map();
  for (let i = 0; i < inside.length; i += 2) {
    if (typeof inside[i] !== "string" || made.has(inside[i])) fail("a key twice, or one that is no text");
    made.set(inside[i], inside[i + 1]);
  }
  return made;
}

export function encode(value) {
  const parts = [];
  write(value, parts);
  return joined(parts);
}

function write(value, parts) {
  if (value === null || typeof value === "boolean") {
    parts.push(Uint8Array.of(value === null ? 0xf6 : value ? 0xf5 : 0xf4));
  } else if (typeof value === "number" || typeof value === "bigint") {
    parts.push(head(0, value));
  } else if (value instanceof Uint8Array) {
    parts.push(head(2, value.length), value);
  } else if (typeof value === "string") {
    const bytes = new TextEncoder().encode(value);
    parts.push(head(3, bytes.length), bytes);
  } else if (Array.isArray(value)) {
    parts.push(head(4, value.length));
    for (const item of value) write(item, parts);
  } else {
    const pairs = [...value].map(([key, item]) => [encode(key), item]);
    pairs.sort(([a], [b]) => a.length - b.length || compare(a, b));
    parts.push(head(5, pairs.length));
    for (const [key, item] of pairs) {
      parts.push(key);
      write(item, parts);
    }
  }
}

function head(major, number) {
  if (number < 24) return Uint8Array.of((major << 5) | Number(number));
  const length = [1, 2, 4, 8].find((bytes) => BigInt(number) < 1n << BigInt(8 * bytes));
  const made = new Uint8Array(1 + length);
  made[0] = (major << 5) | (24 + Math.log2(length));
  let rest = BigInt(number);
  for (let i = length; i > 0; i -= 1) {
    made[i] = Number(rest & 255n);
    rest >>= 8n;
  }
  return made;
}

export function joined(parts) {
  const made = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    made.set(part, at);
    at += part.length;
  }
  return made;
}

export function compare(a, b) {
  for (let i = 0; i < Math.min(a.length, b.length); i += 1) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

export function equal(a, b) {
  return a.length === b.length && compare(a, b) === 0;
}

export const isZero = (bytes) => bytes.every((byte) => byte === 0);

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function anArray(value, length) {
  if (!Array.isArray(value) || (length !== undefined && value.length !== length)) fail("no array as it should be");
  return value;
}

export function someBytes(value, length) {
  if (!(value instanceof Uint8Array) || (length !== undefined && value.length !== length)) fail("no bytes as they should be");
  return value;
}

export function anInteger(value, maximum) {
  const isInteger = typeof value === "number" || typeof value === "bigint";
  if (!isInteger || value > maximum) fail(`no integer up to ${maximum}`);
  return value;
}

export function aSafeInteger(value, maximum) {
  return Number(anInteger(value, Math.min(maximum, Number.MAX_SAFE_INTEGER)));
}

export function rising(values, order) {
  for (let i = 1; i < values.length; i += 1) if (order(values[i - 1], values[i]) >= 0) fail("a list out of order");
}
