// The page around the verifier: takes a file, shows what it claims.

import { InvalidProof, shown, verify } from "./verify.js";

globalThis.piecrustProofs = { verify, shown, InvalidProof };

const NAMES = {
  state: (about, root) => [["commit", about ?? "not bound: the proof is about a bare state root"], ["state root", root]],
  ancestry: (ancestor, descendant) => [["ancestor", ancestor], ["descendant", descendant]],
  difference: (old, now) => [["from commit", old], ["to commit", now]],
};

function line(parent, name, value) {
  const row = document.createElement("div");
  row.className = "row";
  const label = document.createElement("span");
  label.textContent = name;
  const content = document.createElement("code");
  content.textContent = value.length > 4096 ? `${value.slice(0, 4096)}… (${value.length / 2} bytes)` : value;
  row.append(label, content);
  parent.append(row);
}

function parts(parent, [kind, ...claim]) {
  if (kind === "state") {
    for (const [what, about, ...rest] of claim[2]) {
      if (what === "contract") {
        const [id, bytecode, owner, bits, length, pages, position] = about;
        line(parent, "contract", id);
        line(parent, "— bytecode", bytecode);
        line(parent, "— owner", owner);
        line(parent, "— memory", `${length} bytes, ${bits}-bit, position ${position}, pages ${pages}`);
      } else if (what === "position") {
        line(parent, "contract at position", `${about}, pages ${rest[0]}`);
      } else {
        line(parent, `${what} of ${about}`, rest.join(": "));
      }
    }
  } else if (kind === "difference") {
    for (const [id, was, is, pages] of claim[2]) {
      line(parent, was && is ? "contract differs" : is ? "contract came" : "contract went", id);
      for (const [index, old, now] of pages) line(parent, `— page ${index}`, `${old ?? "none"} → ${now ?? "none"}`);
    }
  }
}

async function show(bytes, trusted) {
  const verdict = document.getElementById("verdict");
  const claims = document.getElementById("claims");
  claims.replaceChildren();
  try {
    const claim = shown(await verify(bytes));
    const about = NAMES[claim[0]](claim[1], claim[2]);
    // A state root binds no ids: it does for proofs without a commit alone.
    const [id, kind] = claim[0] !== "state" ? [claim[2], "commit"] : claim[1] ? [claim[1], "commit"] : [claim[2], "state root"];
    if (trusted && trusted !== id) throw new InvalidProof(`it is about ${kind} ${id}`);
    verdict.className = "holds";
    verdict.textContent = trusted ? "The proof holds, for what you trust." : "The proof holds. Compare what it is about with what you trust.";
    for (const [name, value] of about) line(claims, name, value);
    parts(claims, claim);
  } catch (error) {
    verdict.className = "fails";
    verdict.textContent = error instanceof InvalidProof ? `The proof does not hold: ${error.message}.` : `This page failed: ${error}`;
  }
}

if (typeof document !== "undefined") {
  const file = document.getElementById("file");
  const trusted = document.getElementById("trusted");
  const run = async (chosen) => chosen && show(new Uint8Array(await chosen.arrayBuffer()), trusted.value.trim().toLowerCase());
  file.addEventListener("change", () => run(file.files[0]));
  trusted.addEventListener("change", () => run(file.files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    file.files = event.dataTransfer.files;
    run(file.files[0]);
  });
}
