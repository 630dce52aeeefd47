"""The verifier of docs/verify/index.html agrees with the others; run by node, if there is one.

That the page works in a browser is tested by `npm ci && npm test` in docs/verify.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from piecrust.objects.access import MemoryObjects
from piecrust.objects.ids import ContractId
from piecrust.objects.proof import prove_state
from piecrust.objects.state import EMPTY_STATE
from piecrust.objects.verifier.encoding import decode, encode
from piecrust.objects.wanted import NoContract
from support.fixtures import ROOT
from support.plain_verifier import Refused, check
from support.proof_mutations import cases, mutated
from support.proofs import World
from support.sample_objects import put_commit

FOLDER = ROOT / "docs" / "verify"
PAGE = FOLDER / "index.html"

HARNESS = r"""
const fs = require("fs");
const readline = require("readline");
const script = fs.readFileSync(process.argv[1], "utf8").match(/<script>([\s\S]*)<\/script>/)[1];
(0, eval)(script);
const { verify, shown, InvalidProof } = globalThis.piecrustProofs;
(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      console.log(JSON.stringify({ claim: shown(await verify(Uint8Array.from(Buffer.from(line, "hex")))) }));
    } catch (error) {
      const refused = error instanceof InvalidProof;
      console.log(JSON.stringify(refused ? { refused: error.message } : { crashed: error.stack }));
    }
  }
})();
"""

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def answers(proofs: list[bytes]) -> Iterator[dict]:
    lines = "\n".join(proof.hex() for proof in proofs) + "\n"
    command = ["node", "-e", HARNESS, str(PAGE)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=120)
    return map(json.loads, done.stdout.splitlines())


def as_json(value: object) -> object:
    """What the second verifier claims, as the page shows it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else [as_json(item) for item in value]


def test_the_page_is_built_of_its_sources():
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((FOLDER / "src").iterdir())))
    found = re.search(r"<!-- sources: ([0-9a-f]{64}) -->", PAGE.read_text())
    assert found
    assert found[1] == digest.hexdigest(), "run `npm ci && npm run build` in docs/verify"


def test_the_page_needs_nothing_from_elsewhere():
    text = PAGE.read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    assert "fetch(" not in text
    assert "XMLHttpRequest" not in text
    assert "default-src 'none'" in text


@needs_node
def test_the_page_bears_long_lists():
    objects, names = MemoryObjects(), [n.to_bytes(32, "big") for n in range(1 << 16)]
    nothing = put_commit(objects, EMPTY_STATE, [], None)
    proof = decode(prove_state(objects, nothing, [NoContract(ContractId(names[0]))]))
    (answer,) = answers([encode((*proof[:7], tuple(names)))])
    assert len(answer["claim"][3]) == len(names)


@needs_node
def test_the_page_agrees_on_valid_and_on_forged_proofs():
    draw, world = random.Random(9), World.random(9, contracts=4)
    valid = cases(world, 9)
    proofs = [case.proof for case in valid] + [mutated(draw, draw.choice(valid), valid) for _ in range(1500)]
    for proof, answer in zip(proofs, answers(proofs), strict=True):
        assert "crashed" not in answer, answer
        try:
            expected = as_json(check(proof))
        except Refused:
            expected = None
        assert answer.get("claim") == expected, (proof.hex(), answer)
