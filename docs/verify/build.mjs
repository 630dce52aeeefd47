// Makes index.html out of src/: `npm ci && npm run build` in this folder.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: ["src/page.js"],
  bundle: true,
  write: false,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  legalComments: "inline",
});
const digest = createHash("sha256");
for (const name of readdirSync("src").sort()) digest.update(readFileSync(`src/${name}`));
const script = outputFiles[0].text.replaceAll("</script", "<\\/script");
const page = readFileSync("src/page.html", "utf8").replace("/*SCRIPT*/", () => `\n${script}`);
writeFileSync("index.html", `${page.trimEnd()}\n<!-- sources: ${digest.digest("hex")} -->\n`);
