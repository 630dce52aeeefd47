// Verifies a proof of piecrust, as docs/proofs.md says: no server, no store. `verify` gives what is claimed, or throws
// an `InvalidProof`.

import { aSafeInteger, anArray, anInteger, compare, decode, encode, equal, fail, hex, InvalidProof, isZero, joined, rising, someBytes } from "./encoding.js";
import { hash, keyed, slicedHash, ZERO } from "./hashes.js";
import { CONTRACTS, Limits, PAGES, rootsOf } from "./tree.js";

const PAGE_BYTES = 65536;
const CHUNK_BYTES = 1024;
const CHUNKS = 64;
const BLOCK_BYTES = 64;
const U32_MAX = 2 ** 32 - 1;
const U64_MAX = 2n ** 64n - 1n;

export async function verify(bytes) {
  const fields = await inflated(anArray(decode(bytes)));
  if (fields[0] !== "piecrust proof" || fields[1] !== 1) fail("not a proof of a known version");
  if (fields[2] === 0 && fields.length === 8) return stateClaim(...fields.slice(3));
  if (fields[2] === 1 && fields.length === 4) return ancestryClaim(fields[3]);
  if (fields[2] === 2 && fields.length === 8) return differenceClaim(...fields.slice(3));
  return fail("not a known kind of proof");
}

// Deflated pages [1, data] are replaced by whole ones first: the browser inflates asynchronously.
async function inflated(fields) {
  if (fields[2] !== 0 || !Array.isArray(fields[6])) return fields;
  let pages = 0;
  for (const entry of fields[6]) {
    const given = Array.isArray(entry) && Array.isArray(entry[1]) && Array.isArray(entry[1][1]) ? entry[1][1] : [];
    for (const [n, page] of given.entries()) {
      if (!Array.isArray(page) || page[0] !== 1) continue;
      pages += 1;
      if (page.length !== 2 || pages > 4096) fail("a page in no known form, or too many of them");
      given[n] = [0, await inflate(someBytes(page[1]))];
    }
  }
  return fields;
}

async function inflate(data) {
  if (data.length >= PAGE_BYTES) fail("a deflated page that is no shorter than the page");
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const parts = [];
  let length = 0;
  try {
    for (const reader = stream.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
      if (length > PAGE_BYTES) {
        await reader.cancel();
        break;
      }
    }
  } catch {
    fail("a page that can't be inflated");
  }
  return someBytes(joined(parts), PAGE_BYTES);
}

const positionKey = (id) => {
  const view = new DataView(id.buffer, id.byteOffset, 32);
  return [0, 4, 8, 12, 16, 20, 24, 28].reduce((sum, at) => (sum + view.getUint32(at, true)) % 2 ** 32, 0);
};

function record(value) {
  const [version, id, bytecode, owner, bits, length, pagesRoot, position] = anArray(value, 8);
  if (version !== 1 || !PAGES.has(bits) || position === 0) fail("a record of no known version or memory");
  if (someBytes(owner).length > 65536) fail("an owner that is too long");
  return {
    id: someBytes(id, 32),
    bytecode: someBytes(bytecode, 32),
    owner,
    bits,
    length: aSafeInteger(length, 2 ** 42),
    pagesRoot: someBytes(pagesRoot, 32),
    position: aSafeInteger(position, U32_MAX),
    address: keyed("piecrust 2026 record", value),
  };
}

function link(value) {
  const [version, generation, depth, parents, jump, content] = anArray(value, 6);
  if (version !== 1) fail("a commit of no known version");
  someBytes(content, 32);
  return {
    id: keyed("piecrust 2026 commit", value),
    generation: BigInt(anInteger(generation, U64_MAX)),
    depth: BigInt(anInteger(depth, U64_MAX)),
    parents: anArray(parents).map((parent) => someBytes(parent, 32)),
    jump: jump === null ? null : someBytes(jump, 32),
  };
}

function commit(value) {
  const fields = anArray(value, 6);
  const content = anArray(fields[5], 5);
  const [stateRoot, mapRoot, positions, transcript, note] = content;
  if (!(note instanceof Map)) fail("a commit's note is something else");
  for (const [key, item] of note) {
    if (key === "time") anInteger(item, U64_MAX);
    else if (!["author", "message"].includes(key) || typeof item !== "string") fail("a commit's note is something else");
  }
  aSafeInteger(positions, U32_MAX);
  if (transcript !== null) someBytes(transcript, 32);
  return {
    ...link([...fields.slice(0, 5), keyed("piecrust 2026 commit content", content)]),
    stateRoot: someBytes(stateRoot, 32),
    mapRoot: someBytes(mapRoot, 32),
    note: Object.fromEntries(note),
  };
}

// Takes what belongs to the leaves of a tree, one after the other.
function queue(items, what) {
  let at = 0;
  return {
    next: () => (at < items.length ? items[at++] : fail(`${what} is missing`)),
    end: () => at === items.length || fail(`${what} has no place`),
  };
}

function stateClaim(anchor, map, tree, entries, absent) {
  const limits = new Limits();
  const missing = anArray(absent).map((id) => someBytes(id, 32));
  rising(missing, compare);
  limits.take("absences", missing.length);
  const bound = !(anchor instanceof Uint8Array);
  const about = bound ? commit(anchor) : { id: null, stateRoot: someBytes(anchor, 32) };
  const contracts = anArray(entries).map((entry) => contractPart(limits, ...anArray(entry, 2), bound));
  if (bound) {
    proveRecords(limits, about.mapRoot, map, contracts, missing);
    contracts.sort((a, b) => a.position - b.position);
  } else if (map !== null || missing.length) {
    fail("a bare state root binds no ids");
  }
  const waiting = queue(contracts, "a contract");
  const { roots } = rootsOf(limits, tree, CONTRACTS, (position) => {
    const contract = waiting.next();
    if (bound && contract.position !== position) fail("a contract at another position");
    contract.position = position;
    return [contract.pagesRoot];
  });
  waiting.end();
  if (!equal(roots[0], about.stateRoot)) fail("the state tree has another root");
  const claims = contracts.flatMap((contract) => contract.claims()).concat(missing.map((id) => ["no contract", id]));
  if (!claims.length) fail("it claims nothing");
  return ["state", about.id, about.stateRoot, claims];
}

function proveRecords(limits, root, map, contracts, missing) {
  const waiting = queue(contracts, "a record");
  const there = new Map();
  const { roots, isEmpty } = rootsOf(limits, map, CONTRACTS, (key) => {
    const contract = waiting.next();
    if (positionKey(contract.record.id) !== key) fail("a record in another's place");
    there.set(key, contract.record.id);
    return [contract.record.address];
  });
  waiting.end();
  if (!equal(roots[0], root)) fail("the contract map has another root");
  for (const id of missing) {
    const other = there.get(positionKey(id));
    if (other ? equal(other, id) : !isEmpty(positionKey(id))) fail("a contract that is not shown to be absent");
  }
}

function contractPart(limits, what, given, bound) {
  const part = { memory: null, position: 0, record: null, bits: null };
  if (bound) {
    part.record = record(what);
    part.position = part.record.position;
    part.pagesRoot = part.record.pagesRoot;
    if (given !== null) part.memory = memory(limits, part.record.bits, given);
    if (part.memory && !equal(part.memory.root, part.pagesRoot)) fail("the page tree has another root");
    if (part.memory?.ranges.some(([offset, length]) => offset + length > part.record.length)) fail("a range beyond the memory's length");
  } else if (what === null) {
    part.pagesRoot = someBytes(given, 32);
  } else {
    part.bits = what;
    part.memory = memory(limits, what, given);
    part.pagesRoot = part.memory.root;
    if (!part.memory.pages.size) fail("no page binds the kind of the memory");
  }
  if (!bound && isZero(part.pagesRoot)) fail("a contract without pages, which can't be told from none");
  part.claims = () => {
    const { record: r, position, pagesRoot, bits } = part;
    const name = bound ? r.id : position;
    const claim = bound
      ? ["contract", [r.id, r.bytecode, r.owner, r.bits, r.length, r.pagesRoot, r.position]]
      : ["position", position, pagesRoot, bits];
    return [claim, ...(part.memory ? part.memory.claims(name) : [])];
  };
  return part;
}

function memory(limits, bits, value) {
  const [tree, pages, given, absent] = anArray(value, 4);
  const shape = PAGES.get(bits) ?? fail("no such kind of memory");
  const space = PAGE_BYTES * 4 ** shape.height;
  const ranges = anArray(given).map((pair) => {
    const [offset, length] = [aSafeInteger(anArray(pair, 2)[0], space - 1), aSafeInteger(pair[1], 2 ** 24)];
    limits.take("bytes", length);
    if (length === 0 || offset + length > space) fail("a range outside of the memory");
    return [offset, length];
  });
  rising(ranges, (a, b) => a[0] - b[0] || a[1] - b[1]);
  const touched = touchedBy(ranges);
  const known = new Map(); // page -> {whole} or {chunks}
  const waiting = queue(anArray(pages), "a page");
  const { roots, isEmpty } = rootsOf(limits, tree, shape, (index) => {
    limits.take("pages", 1);
    const page = onePage(limits, waiting.next(), touched.get(index));
    known.set(index, page);
    return [page.hash];
  });
  waiting.end();
  const missing = anArray(absent).map((index) => aSafeInteger(index, Number.MAX_SAFE_INTEGER));
  rising(missing, (a, b) => a - b);
  limits.take("absences", missing.length);
  if (!known.size && !ranges.length && !missing.length) fail("a page tree of which nothing is claimed");
  const unseen = [...touched.keys()].filter((index) => !known.has(index));
  if (![...missing, ...unseen].every(isEmpty)) fail("a page that is not shown to be absent");
  const chunkAt = (n) => {
    const page = known.get(Math.floor(n / CHUNKS));
    const start = (n % CHUNKS) * CHUNK_BYTES;
    return page?.whole?.subarray(start, start + CHUNK_BYTES) ?? page?.chunks?.get(n % CHUNKS) ?? new Uint8Array(CHUNK_BYTES);
  };
  const bytes = (offset, length) => {
    const parts = [];
    for (let n = Math.floor(offset / CHUNK_BYTES); n * CHUNK_BYTES < offset + length; n += 1) parts.push(chunkAt(n));
    return joined(parts).slice(offset % CHUNK_BYTES, (offset % CHUNK_BYTES) + length);
  };
  return {
    root: roots[0],
    pages: known,
    ranges,
    claims: (name) => [
      ...[...known].filter(([, page]) => page.whole).map(([index, page]) => ["page", name, index, page.whole]),
      ...ranges.map(([offset, length]) => ["range", name, offset, bytes(offset, length)]),
      ...missing.map((index) => ["no page", name, index]),
    ],
  };
}

// Pages that ranges touch -> their chunks -> the first block of each that is needed.
function touchedBy(ranges) {
  const touched = new Map();
  for (const [offset, length] of ranges) {
    for (let n = Math.floor(offset / CHUNK_BYTES); n * CHUNK_BYTES < offset + length; n += 1) {
      const index = Math.floor(n / CHUNKS);
      if (!touched.has(index)) touched.set(index, new Map());
      const first = Math.floor(Math.max(offset - n * CHUNK_BYTES, 0) / BLOCK_BYTES);
      const chunks = touched.get(index);
      chunks.set(n % CHUNKS, Math.min(first, chunks.get(n % CHUNKS) ?? first));
    }
  }
  return touched;
}

function onePage(limits, page, touched) {
  const [form, ...fields] = anArray(page);
  if (form === 0 && fields.length === 1) return { whole: someBytes(fields[0], PAGE_BYTES), hash: hash(fields[0]) };
  if (form !== 2 || fields.length !== 2 || !touched) fail("a page in no known form, or that no range needs");
  limits.take("chunks", touched.size);
  return slicedHash(touched, someBytes(fields[0]), someBytes(fields[1]));
}

function jumpDepth(depth) {
  let [rest, term] = [depth, 0n];
  while (rest > 0n) {
    term = 1n;
    while (2n * term + 1n <= rest) term = 2n * term + 1n;
    rest -= term;
  }
  return depth - term;
}

function ancestryClaim(given) {
  const links = anArray(given).map(link);
  if (links.length < 2 || links.length > 4096) fail("no way from one commit to another");
  for (let n = 1; n < links.length; n += 1) {
    const [later, here] = [links[n - 1], links[n]];
    const [first, ...others] = later.parents;
    const isFirst = first !== undefined && equal(first, here.id);
    const isOther = others.some((parent) => equal(parent, here.id));
    const isJump = later.jump !== null && equal(later.jump, here.id);
    const named = isFirst ? here.depth === later.depth - 1n : isOther || (isJump && here.depth === jumpDepth(later.depth));
    if (!named || here.generation >= later.generation) fail("a commit that the one before it doesn't name");
  }
  return ["ancestry", links[links.length - 1].id, links[0].id];
}

function differenceClaim(old, now, map, tree, entries) {
  const limits = new Limits();
  const [before, after] = [commit(old), commit(now)];
  const waiting = queue(anArray(entries), "a contract");
  const found = [];
  const stands = [new Map(), new Map()]; // position -> pages root, on each side
  const { roots } = rootsOf(limits, map, CONTRACTS, (key) => {
    const [was, is, memories] = anArray(waiting.next(), 3);
    const sides = [was, is].map((value) => (value === null ? null : record(value)));
    if (sides.some((side) => side && positionKey(side.id) !== key)) fail("a record in another's place");
    const [a, b] = sides.map((side) => side?.address ?? null);
    if ((a === null && b === null) || (a && b && equal(a, b))) fail("a contract that doesn't differ");
    sides.forEach((side, n) => {
      if (side && stands[n].has(side.position)) fail("two contracts at one position");
      if (side) stands[n].set(side.position, side.pagesRoot);
    });
    found.push(...contractDifferences(limits, ...sides, anArray(memories)));
    return [a, b];
  }, 2);
  waiting.end();
  if (!equal(roots[0], before.mapRoot) || !equal(roots[1], after.mapRoot)) fail("the contract maps have other roots");
  const positions = queue([...new Set([...stands[0].keys(), ...stands[1].keys()])].sort((a, b) => a - b), "a contract");
  const state = rootsOf(limits, tree, CONTRACTS, (position) => {
    if (positions.next() !== position) fail("a contract at another position");
    return stands.map((side) => side.get(position) ?? null);
  }, 2);
  positions.end();
  if (!equal(state.roots[0], before.stateRoot) || !equal(state.roots[1], after.stateRoot)) fail("the state trees have other roots");
  return ["difference", before.id, after.id, found];
}

function contractDifferences(limits, old, now, memories) {
  const waiting = queue(memories, "a page tree");
  const differ = (a, b) => pageDifferences(limits, a, b, waiting);
  const made = [];
  if (old && now && equal(old.id, now.id)) {
    let pages;
    if (old.bits === now.bits) {
      pages = differ(old, now);
    } else {
      const [went, came] = [differ(old, null), differ(null, now)];
      pages = new Map([...went, ...came].map(([i]) => [i, [went.get(i)?.[0] ?? null, came.get(i)?.[1] ?? null]]));
    }
    made.push([old.id, true, true, pages]);
  } else {
    if (old) made.push([old.id, true, false, differ(old, null)]);
    if (now) made.push([now.id, false, true, differ(null, now)]);
  }
  waiting.end();
  return made.map(([id, was, is, pages]) => {
    const list = [...pages].sort(([a], [b]) => a - b).map(([index, [a, b]]) => [index, a, b]);
    return [id, was, is, list.filter(([, a, b]) => !(a && b && equal(a, b)))];
  });
}

function pageDifferences(limits, old, now, waiting) {
  const expected = [old?.pagesRoot ?? ZERO, now?.pagesRoot ?? ZERO];
  const found = new Map();
  if (equal(expected[0], expected[1])) return found;
  const [tree, pages] = anArray(waiting.next(), 2);
  const leaves = queue(anArray(pages), "a page");
  const { roots } = rootsOf(limits, tree, PAGES.get((old ?? now).bits), (index) => {
    const pair = anArray(leaves.next(), 2).map((one) => (one === null ? null : someBytes(one, 32)));
    if (equal(...pair.map((one) => one ?? ZERO)) || pair.some((one) => one && isZero(one))) fail("a page that doesn't differ");
    found.set(index, pair);
    return pair;
  }, 2);
  leaves.end();
  if (!equal(roots[0], expected[0]) || !equal(roots[1], expected[1])) fail("the page trees have other roots");
  return found;
}

// A claim with hexadecimal texts for bytes and decimal ones for numbers: to show, and to compare.
export function shown(value) {
  if (value instanceof Uint8Array) return hex(value);
  if (typeof value === "number" || typeof value === "bigint") return value.toString();
  return Array.isArray(value) ? value.map(shown) : value;
}

export { encode, InvalidProof };
