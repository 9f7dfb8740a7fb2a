/**
 * The Rust client is the oracle: both machines play the same random schedules, and must do and show the same at the
 * same times. `ROOMCHAT_SCHEDULES` sets their number, `ROOMCHAT_SEED` the first seed.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

import { repository } from "./player.js";
import { record, schedule, type Schedule } from "./world.js";

const count = Number(process.env["ROOMCHAT_SCHEDULES"] ?? 1000);
const first = Number(process.env["ROOMCHAT_SEED"] ?? 1);

function run(command: string, args: string[], input?: string): string {
  const done = spawnSync(command, args, { cwd: repository, encoding: "utf8", maxBuffer: 1e9, ...(input ? { input } : {}) });
  if (done.status !== 0) throw new Error(`${command} failed: ${done.error?.message ?? done.stderr}`);
  return done.stdout;
}

/** Returns what the Rust client says of each scenario. */
function oracle(scenarios: readonly string[]): string[] {
  const folder = process.env["CARGO_TARGET_DIR"] ?? `${repository}/target`;
  return run(`${folder}/debug/examples/oracle`, [], scenarios.join("\n\n")).trimEnd().split("\n");
}

/** Returns how the clients differ on a schedule. */
function differs(schedule: Schedule): string | undefined {
  const { scenario, error } = record(schedule);
  if (error) return error;
  const [verdict] = oracle([scenario]);
  return verdict === "ok" ? undefined : verdict;
}

/** Takes steps out of a schedule as long as the clients still differ. */
function shrink(failing: Schedule): Schedule {
  let { steps } = failing;
  for (let part = Math.ceil(steps.length / 2); part >= 1; part = part === 1 ? 0 : Math.ceil(part / 2)) {
    for (let at = 0; at < steps.length; ) {
      const fewer = [...steps.slice(0, at), ...steps.slice(at + part)];
      if (differs({ ...failing, steps: fewer })) steps = fewer;
      else at += part;
    }
  }
  return { ...failing, steps };
}

test("both clients do the same on random schedules", () => {
  // Of the whole workspace, so that no crate is compiled with other features than for the other tests.
  run("cargo", ["build", "--quiet", "--locked", "--example", "oracle"]);
  const schedules = Array.from({ length: count }, (_, index) => schedule(first + index));
  const records = schedules.map(record);
  const verdicts = oracle(records.map(({ scenario }) => scenario));
  assert.equal(verdicts.length, count);
  const failing = schedules.findIndex((_, index) => records[index]?.error !== undefined || verdicts[index] !== "ok");
  if (failing < 0) return;
  const smallest = shrink(schedules[failing] as Schedule);
  const { scenario } = record(smallest);
  assert.fail(`seed ${first + failing}: ${differs(smallest)}\nAs a scenario:\n${scenario}`);
});

test("the oracle notices a client that is late, that shows another message, and that sends nothing", () => {
  const { scenario } = record(schedule(3));
  const lines = scenario.split("\n");
  const at = lines.findIndex((line) => line.includes('"show":{"type":"message"'));
  const sent = lines.findIndex((line) => line.includes('"action":"history"'));
  const changed = (index: number, change: (line: string) => string) =>
    lines.map((line, other) => (other === index ? change(line) : line)).join("\n");
  const verdicts = oracle([
    scenario,
    changed(at, (line) => line.replace(/"at":(\d+)/, (_, time) => `"at":${Number(time) + 1}`)),
    changed(at, (line) => line.replace(/"seq":(\d+)/, (_, seq) => `"seq":${Number(seq) + 1}`)),
    changed(sent, () => '{"may":{"close":"none"}}'),
  ]);
  assert.deepEqual(
    verdicts.map((verdict) => verdict === "ok"),
    [true, false, false, false],
    verdicts.join("\n"),
  );
});
