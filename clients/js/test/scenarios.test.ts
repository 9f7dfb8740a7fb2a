import assert from "node:assert/strict";
import { test } from "node:test";

import { play, scenarios } from "./player.js";

/** The parts of the protocol that a client may leave out, and that this one has. */
const HAS: string[] = [];

for (const [name, text] of scenarios()) {
  const { needs = [] } = JSON.parse(text.slice(0, text.indexOf("\n"))) as { needs?: string[] };
  if (!needs.every((part) => HAS.includes(part))) continue;
  test(`scenario ${name}`, () => assert.equal(play(text), undefined));
}

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
