import assert from "node:assert/strict";
import { test } from "node:test";

import { core, play, scenarios } from "./player.js";

/** The parts of the protocol that a client may leave out, and that this one has. */
const HAS: string[] = [];

/** Scenarios that this client does not keep yet. */
const NOT_YET = ["bye-never", "change", "change-deleted", "change-history", "change-order", "change-own", "change-reactions", "change-resume"];

for (const [name, text] of scenarios()) {
  const { needs = [] } = JSON.parse(text.slice(0, text.indexOf("\n"))) as { needs?: string[] };
  if (!needs.every((part) => HAS.includes(part))) continue;
  const notYet = NOT_YET.includes(name);
  test(`scenario ${name}`, () => (notYet ? assert.notEqual(play(text), undefined) : assert.equal(play(text), undefined)));
}

test("who hears of its own leave says that it is there, once in 30 seconds", () => {
  // The scenario is of a client that shows who is there: it also asks for the members, and has a state.
  const text = (scenarios().get("presence-oneself") ?? "")
    .split("\n")
    .filter((line) => !line.includes('"members"'))
    .join("\n")
    .replace('"presence":{}', '"presence":true')
    .replace(/("action":"presence".*?),"id":"\$[pq]"/g, "$1")
    .replace(/"\$[pq]"/g, '"p"');
  for (const chance of [0, 0.5, 0.999]) {
    assert.equal(play(text, (user) => core(user, { _live: true, chance: () => chance })), undefined);
  }
  assert.match(play(text.replace(/.*"out".*"action":"presence".*\n/g, ""), (user) => core(user, { _live: true })) ?? "kept", /not expected/);
  // Without `live` it joins without presence.
  assert.match(play(text) ?? "kept", /not expected/);
});

test("a scenario finds what it does not expect", () => {
  const order = scenarios().get("order") ?? "";
  const without = (part: string) =>
    order
      .split("\n")
      .filter((line) => !line.includes(part))
      .join("\n");
  const changes: [string, RegExp][] = [
    [without('"action":"join"'), /not expected: .*"action":"join"/],
    [order.replace(/("out":\{"show":\{"type":"message".*"seq":)3/, "$14"), /not expected/],
    [order.replace('{"at":1000,"end":true}', '{"at":1000,"out":{"close":"$l"}}'), /missing/],
    [order.replace('"at":140,"out"', '"at":141,"out"'), /at 140: not expected/],
  ];
  for (const [changed, told] of changes) {
    assert.notEqual(changed, order);
    assert.match(play(changed) ?? "kept", told);
  }
});
