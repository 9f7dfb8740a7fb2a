import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const root = join(import.meta.dirname, "../..");
const { size } = (await import(pathToFileURL(join(root, "scripts/bundle.mjs")).href)) as {
  size(file: string, external?: string[]): Promise<number>;
};

test("the package is at most 10 KB gzipped", async (t) => {
  const bytes = await size(join(root, "dist/index.js"));
  t.diagnostic(`${bytes} bytes`);
  assert.ok(bytes <= 10_240, `${bytes} bytes`);
});

test("each member that the modules share has a short name", () => {
  // A name in quotes would keep its length, and be another member.
  assert.deepEqual(readFileSync(join(root, "dist/index.js"), "utf8").match(/\b_[a-zA-Z]{2,}/g) ?? [], []);
});

test("the hooks are at most 2 KB gzipped", async (t) => {
  const bytes = await size(join(root, "dist/react.js"), ["react"]);
  t.diagnostic(`${bytes} bytes`);
  assert.ok(bytes <= 2_048, `${bytes} bytes`);
});
