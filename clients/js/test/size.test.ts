import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { rollup } from "rollup";
import { minify } from "terser";

const root = join(import.meta.dirname, "../..");
const { size } = (await import(pathToFileURL(join(root, "scripts/bundle.mjs")).href)) as {
  size(file: string, external?: string[]): Promise<number>;
};

/** Returns the gzipped size in bytes by another bundler and another minifier. */
async function other(file: string, external: string[]): Promise<number> {
  const bundle = await rollup({ input: file, external, onwarn: () => undefined });
  const { output } = await bundle.generate({ format: "es" });
  const { code = "" } = await minify(output[0].code, { module: true, ecma: 2020 });
  return gzipSync(code, { level: 9 }).length;
}

/** The limits in bytes, and the packages that are not counted. */
const LIMITS: [string, number, string[]][] = [
  ["index", 10_240, []],
  ["react", 2_048, ["react"]],
  ["presence", 2_048, []],
  ["direct", 1_024, []],
  ["store", 1_024, []],
];

for (const [name, limit, external] of LIMITS) {
  test(`roomchat/${name} is at most ${limit} bytes gzipped`, async (t) => {
    const file = join(root, `dist/${name}.js`);
    for (const bytes of [await size(file, external), await other(file, external)]) {
      t.diagnostic(`${bytes} bytes`);
      assert.ok(bytes <= limit, `${bytes} bytes`);
    }
  });
}

test("each member that the modules share has a short name", () => {
  // A name in quotes would keep its length, and be another member.
  assert.deepEqual(readFileSync(join(root, "dist/index.js"), "utf8").match(/\b_[a-zA-Z]{2,}/g) ?? [], []);
});
