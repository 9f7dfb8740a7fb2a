import assert from "node:assert/strict";
import { test } from "node:test";

import { play, scenarios } from "./player.js";
import { play as playAll } from "./shell.js";

/**
 * Parts that lie outside the state machine are played against the whole client. It leaves two to the application: which
 * pair rooms are opened when a message comes (`direct`), and the list of rooms for `unread`.
 */
const OTHERS = ["direct-unasked", "unread"];

for (const [name, text] of scenarios()) {
  const { needs = [] } = JSON.parse(text.slice(0, text.indexOf("\n"))) as { needs?: string[] };
  if (OTHERS.includes(name)) continue;
  if (needs.length || /^change|^bye-never$/.test(name)) test(`scenario ${name}`, async () => assert.equal(await playAll(text), undefined));
  else test(`scenario ${name}`, () => assert.equal(play(text), undefined));
}

test("who hears of its own leave says that it is there, whatever the chance", async () => {
  const text = scenarios().get("presence-oneself") ?? "";
  for (const chance of [0, 0.999]) assert.equal(await playAll(text, chance), undefined);
  assert.match((await playAll(text.replace(/.*"out".*"action":"presence".*\n/g, ""))) ?? "kept", /not expected/);
  // Without `live` it joins without presence.
  assert.match((await playAll(text.replace('"presence":true', '"presence":false'))) ?? "kept", /not expected/);
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
