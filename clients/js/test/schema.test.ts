import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { client } from "./browser.js";
import { repository, type Fields } from "./player.js";
import { wrong } from "./schema.js";

/** The frames in PROTOCOL.md. A test of the service runs its conversations line by line. */
function frames(): { service: Fields[]; client: Fields[]; refused: Fields[] } {
  const found = { service: [] as Fields[], client: [] as Fields[], refused: [] as Fields[] };
  const lines = readFileSync(join(repository, "PROTOCOL.md"), "utf8").split("\n");
  lines.forEach((line, index) => {
    const [, direction, text] = /^(?:\S.*? ([<>]) )?(\{.*\})$/.exec(line) ?? [];
    if (text === undefined) return;
    const frame = JSON.parse(text) as Fields;
    // Frames that are answered with `bad_request` or `unknown_action` are wrong on purpose.
    if (direction === ">") found[/"name":"(bad_request|unknown_action)"/.test(lines[index + 1] ?? "") ? "refused" : "client"].push(frame);
    else found.service.push(frame);
  });
  return found;
}

const { service, client: sent, refused } = frames();

test("the schemas describe every frame in PROTOCOL.md", () => {
  assert.ok(service.length > 60 && sent.length > 40 && refused.length > 2);
  assert.deepEqual(service.flatMap((frame) => wrong(frame, "service") ?? []), []);
  assert.deepEqual(sent.flatMap((frame) => wrong(frame, "client") ?? []), []);
});

test("each frame of the schemas is in PROTOCOL.md", () => {
  const protocol = readFileSync(join(repository, "PROTOCOL.md"), "utf8");
  // A heading may name several actions.
  const headings = [...protocol.matchAll(/^### (.*)$/gm)].flatMap(([, heading]) => heading?.split(", ") ?? []);
  for (const [name, examples, field] of [
    ["service", service, "type"],
    ["client", sent, "action"],
  ] as const) {
    const schema = JSON.parse(readFileSync(join(repository, `clients/schema/${name}.schema.json`), "utf8")) as { $defs: Record<string, { properties: Record<string, { const?: string; enum?: string[] }> }> };
    const named = Object.values(schema.$defs).flatMap(({ properties }) => properties[field]?.enum ?? properties[field]?.const ?? []);
    const seen = new Set(examples.map((frame) => frame[field]));
    for (const value of named) assert.ok(seen.has(value) || headings.includes(value), `no frame has the ${field} ${value}`);
  }
});

test("a frame with a missing, a wrong or a further field is found", () => {
  const ack = service.find((frame) => frame["type"] === "ack" && frame["seq"] !== undefined) as Fields;
  const { epoch: _, ...without } = ack;
  for (const broken of [without, { ...ack, seq: "1" }, { ...ack, more: true }, { ...ack, type: "dance" }]) {
    assert.ok(wrong(broken, "service"));
  }
  assert.ok(wrong({ action: "publish" }, "client"));
});

test("the types of the client describe every frame in PROTOCOL.md", (t) => {
  const folder = mkdtempSync(join(client, "build/types-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const check = (name: string, frames: Fields[]) => {
    const file = join(folder, `${name}.ts`);
    const typed = frames.filter(({ type }) => type !== undefined).map((frame) => `  ${JSON.stringify(frame)},`);
    writeFileSync(file, `import type { ServiceFrame } from "../../src/wire.js";\nexport const frames: ServiceFrame[] = [\n${typed.join("\n")}\n];\n`);
    const flags = ["--noEmit", "--skipLibCheck", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--module", "nodenext", "--lib", "es2022"];
    return spawnSync(process.execPath, [join(client, "node_modules/typescript/bin/tsc"), ...flags, file], { encoding: "utf8" });
  };
  const right = check("right", service);
  assert.equal(right.status, 0, right.stdout);
  assert.notEqual(check("further", [{ ...(service[0] as Fields), further: 1 }]).status, 0);
  const { epoch: _, ...without } = service.find(({ type }) => type === "message") as Fields;
  assert.notEqual(check("missing", [without]).status, 0);
});
