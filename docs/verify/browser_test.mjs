// Opens index.html in a headless Chromium and shows it the golden proofs, and each of them with a flipped byte.
// Chromium is looked for where Debian and its relatives have it, or where CHROMIUM says.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
  .find((path) => path && existsSync(path));
if (!executablePath) {
  console.log("SKIPPED: there is no Chromium on this machine (install the package chromium, or set CHROMIUM)");
  process.exit(0);
}

const entries = readFileSync(here("../../fixtures/golden/proofs.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
const requests = [];
page.on("request", (request) => requests.push(request.url()));
const problems = [];
page.on("pageerror", (error) => problems.push(error.message));
await page.goto(`file://${here("index.html")}`);

async function verdict(bytes, trusted) {
  await page.fill("#trusted", trusted ?? "");
  await page.evaluate(() => document.getElementById("verdict").removeAttribute("class"));
  await page.setInputFiles("#file", { name: "proof", mimeType: "application/octet-stream", buffer: bytes });
  await page.waitForFunction(() => document.getElementById("verdict").className !== "");
  return page.evaluate(() => [
    document.getElementById("verdict").className,
    document.getElementById("verdict").textContent,
    document.getElementById("claims").textContent,
  ]);
}

let count = 0;
function expect(condition, what) {
  count += 1;
  if (!condition) problems.push(what);
}

for (const { name, proof, commit } of entries) {
  const bytes = Buffer.from(proof, "hex");
  const [state, text, claims] = await verdict(bytes, commit);
  expect(state === "holds", `${name}: ${text}`);
  expect(!commit || claims.includes(commit), `${name}: the commit isn't shown`);
  const [stranger] = await verdict(bytes, "ab".repeat(32));
  expect(stranger === "fails", `${name}: it holds for another commit`);
  const flipped = Buffer.from(bytes);
  flipped[flipped.length >> 1] ^= 1;
  if (name === "record") {
    const [, , root] = claims.match(/(state root)([0-9a-f]{64})/);
    const [underRoot] = await verdict(bytes, root);
    expect(underRoot === "fails", `${name}: a proof about a commit holds for a bare state root`);
  }
  const [broken] = await verdict(flipped, commit);
  expect(broken === "fails", `${name}: it holds with a flipped byte`);
}
expect(requests.every((url) => url.startsWith("file:")), `requests went out: ${requests}`);
await browser.close();
console.log(problems.length ? problems.join("\n") : `${count} checks passed in ${executablePath}`);
process.exit(problems.length ? 1 : 0);
