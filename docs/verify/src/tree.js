// Merkle trees of which a proof shows a part (docs/proofs.md, section 3).

import { anArray, fail, isZero, joined, someBytes } from "./encoding.js";
import { hash, ZERO } from "./hashes.js";

export const CONTRACTS = { arity: 2, height: 32 };
export const PAGES = new Map([[32, { arity: 4, height: 8 }], [64, { arity: 4, height: 13 }]]);

const [EMPTY, PRUNED, OPENED] = [0, 1, 2];

export class Limits {
  constructor() {
    this.left = { pages: 4096, chunks: 2 ** 13, absences: 2 ** 16, nodes: 2 ** 18, bytes: 2 ** 24 };
  }

  take(what, count) {
    this.left[what] -= count;
    if (this.left[what] < 0) fail(`too many ${what}`);
  }
}

// The roots of one or two trees, and what says whether a position lies in an empty subtree. `leaf` gives a leaf's hash on
// each side, null where it is missing.
export function rootsOf(limits, tree, { arity, height }, leaf, sides = 1) {
  const [codes, hashes] = anArray(tree, 2).map((part) => someBytes(part));
  limits.take("nodes", codes.length);
  const empty = new Set();
  const isEmpty = (position) => {
    for (let h = 0, at = position; h <= height; h += 1, at = Math.floor(at / arity)) if (empty.has(`${h}/${at}`)) return true;
    return false;
  };
  if (codes.length === 0) {
    if (hashes.length === 0) empty.add(`${height}/0`);
    else if (isZero(hashes)) fail("no hash for a pruned tree");
    return { roots: Array(sides).fill(hashes.length ? someBytes(hashes, 32) : ZERO), isEmpty };
  }
  const frames = [{ code: codes[0], children: [] }];
  let [read, taken, position] = [1, 0, 0];
  for (;;) {
    const { code, children } = frames[frames.length - 1];
    const below = height - frames.length;
    const child = position * arity + children.length;
    const state = (code >> (2 * children.length)) & 3;
    if (children.length === arity) {
      if (code === 0 || code === (arity === 2 ? 0b0101 : 0b01010101) || code >> (2 * arity)) {
        fail("a node that shows nothing, or has too many children");
      }
      const value = Array.from({ length: sides }, (_, side) => {
        const column = children.map((one) => one[side]);
        return column.every((one) => one === null) ? null : hash(joined(column.map((one) => one ?? ZERO)));
      });
      frames.pop();
      if (frames.length === 0) {
        if (read !== codes.length || taken !== hashes.length) fail("more nodes or hashes than the tree has");
        return { roots: value.map((root) => root ?? ZERO), isEmpty };
      }
      position = Math.floor(position / arity);
      frames[frames.length - 1].children.push(value);
    } else if (state === EMPTY) {
      empty.add(`${below}/${child}`);
      children.push(Array(sides).fill(null));
    } else if (state === PRUNED) {
      const sibling = hashes.subarray(taken, taken + 32);
      taken += 32;
      if (sibling.length < 32 || isZero(sibling)) fail("no hash for a pruned subtree");
      children.push(Array(sides).fill(sibling));
    } else if (state === OPENED && below === 0) {
      children.push(leaf(child));
    } else if (state === OPENED && read < codes.length) {
      frames.push({ code: codes[read], children: [] });
      read += 1;
      position = child;
    } else {
      fail("a node is missing");
    }
  }
}
