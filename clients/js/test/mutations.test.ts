/**
 * Breaks each MUST of PROTOCOL.md once, and sees its scenario turn red: a copy of the compiled state machine is changed
 * by one replacement of text.
 */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";

import type { Core } from "../src/core.js";
import { play, scenarios, unique } from "./player.js";

const source = join(import.meta.dirname, "../src");
const copies = mkdtempSync(join(tmpdir(), "roomchat-mutations-"));
after(() => rmSync(copies, { recursive: true }));

/** The rule, the file, what is replaced by what, and the scenarios that must turn red, among others. */
const MUTATIONS: [string, string, string, string, string[]][] = [
  ["1 order", "log.js", "this.#held.get(here.seq + 1)", "[...this.#held.values()][0]", ["order", "order-waits"]],
  ["2 duplicates", "log.js", "if (entry.seq <= here.seq)\n                return true;", "if (entry.seq <= here.seq) shown.push({ ...entry, type: \"message\", room: this.name });", ["duplicates"]],
  ["2 by id", "log.js", "this.#held.set(entry.seq, entry)", "this.seen !== entry.id && this.#held.set(entry.seq, entry); this.seen = entry.id ?? {}", ["duplicates-by-id"]],
  ["3 own messages", "core.js", "this.#take(ack.room,", "void (ack.room,", ["own-message", "own-message-between"]],
  ["4 gaps", "core.js", "if (!room._behind() && !room._check)", "if (!room._check)", ["gap"]],
  ["4 all of it", "core.js", "room._cutShort = true;\n            this.#show", "room._cutShort = true; room._reaches = () => {}; here.seq = page.head;\n            this.#show", ["gap-in-pages"]],
  ["4 trimmed", "core.js", "here.seq + 1 < page.first", "false", ["gap-trimmed"]],
  ["5 the last message", "core.js", "const SETTLE = [3_000, 31_000]", "const SETTLE = [3_000]", ["last-message"]],
  ["6 join first", "core.js", "|| known._poll || !here", "&& false", ["first-join"]],
  ["6 since", "core.js", "join.since ? { since: join.since } :", "", ["since"]],
  ["7 lost positions", "core.js", "lost = true;", "lost = false;", ["lost-position"]],
  ["7 other epochs", "log.js", "if (here.epoch !== entry.epoch)", "if (false)", ["other-epoch"]],
  ["8 sending again", "retry.js", "this.#due = clock.now + clock._ackTimeout *", "this.#due = Infinity; clock.now + clock._ackTimeout *", ["resend"]],
  ["8 temporary errors", "core.js", ": failure.temporary || outside;", ": outside;", ["resend-temporary"]],
  ["8 the same after", "log.js", "this.after ??= here;", "this.after = here;", ["resend-temporary", "resend"]],
  ["8 on a new connection", "core.js", "retry._closed(now, link.id);", "void 0;", ["resend-on-a-new-connection"]],
  ["8 frames of the gateway", "core.js", "retry._perhapsFailed(now, chance, link);", "void 0;", ["gateway-frame"]],
  ["8 fresh ids", "core.js", "new Outgoing(input.id,", 'new Outgoing("same",', ["fresh-ids"]],
  ["8 conflicts are final", "core.js", "failure.temporary || outside;", "true;", ["id-conflict", "error-bad-request", "error-forbidden", "error-payload-too-large"]],
  ["9 waiting", "retry.js", "Math.max(fullJitter(chance, this._attempt), atLeast)", "fullJitter(chance, this._attempt)", ["retry-after"]],
  ["10 own order", "core.js", "const [message] = room.outbox;", "const message = room.outbox.at(-1);", ["own-order"]],
  ["10 publish after join", "core.js", "const here = room.at();\n            if (!here || !inRoom(link, room.name))", "const here = room.at() ?? { epoch: '', seq: 0 };\n            if (false)", ["publish-after-join"]],
  ["10 leave after join", "core.js", "|| this.#links.some((link) => link.rooms.get(name)?.join)", "", ["leave-after-join"]],
  ["10 leave after ack", "core.js", "if (!room._leaving || room.outbox.length ||", "if (!room._leaving ||", ["leave-after-ack"]],
  ["10 leave again", "core.js", "this.#leaveLater(room, false);\n    }\n    #acked", "void 0;\n    }\n    #acked", ["left-again"]],
  ["11 heartbeat", "core.js", "if (!link._open || link._role === \"retiring\" || !clock._due(link._heartbeatAt))", "if (true)", ["heartbeat"]],
  ["14 unknown types", "core.js", 'case "gateway":', "default:", ["unknown-type"]],
  ["14 unknown kinds", "log.js", "if (SHOWN.includes(type))", "if (true)", ["unknown-kind"]],
  ["token_expired", "core.js", 'if (name === "token_expired")', "if (false)", ["error-token-expired"]],
  ["not_a_member", "core.js", "known._joined = false;", "void 0;", ["error-not-a-member"]],
];

for (const [index, [rule, file, found, replaced, red]] of MUTATIONS.entries()) {
  test(`without ${rule}: ${red.join(", ")}`, async () => {
    const copy = join(copies, String(index));
    cpSync(source, copy, { recursive: true });
    writeFileSync(join(copy, "package.json"), '{"type":"module"}');
    const text = readFileSync(join(copy, file), "utf8");
    assert.equal(text.split(found).length, 2, `${JSON.stringify(found)} must be in ${file} once`);
    writeFileSync(join(copy, file), text.replace(found, () => replaced));
    const broken = (await import(pathToFileURL(join(copy, "core.js")).href)) as { Core: typeof Core };
    const makeCore = (user: string) =>
      new broken.Core({
        user,
        _heartbeat: 300_000,
        _maxLife: 6_900_000,
        _ackTimeout: 10_000,
        // A random wait could be too short to show the difference.
        _chance: () => 0.5,
        _unique: unique,
      });
    const all = scenarios();
    for (const name of red) assert.ok(play(all.get(name) ?? "", makeCore), `${name} is green without ${rule}`);
  });
}

/** The same for rules that are kept outside the state machine: the whole client plays the scenario. */
const OUTSIDE: typeof MUTATIONS = [
  ["15 order of events", "presence.js", "(at < known.at ||", "(false ||", ["presence-order"]],
  ["15 holding a leave", "presence.js", "this.#leaves(user, at, now + holdMs)", "this.#leaves(user, at, now)", ["presence-hold", "presence"]],
  ["15 the first list", "presence.js", "now + LOOK_FIRST", "Infinity", ["presence-list"]],
  ["15 the lists after it", "presence.js", "this.lookAt = now + LOOK_EVERY", "this.lookAt = Infinity + LOOK_EVERY", ["presence-list"]],
  ["15 the lag of a list", "presence.js", "(list.at ?? 0) - INDEX_LAG", "(list.at ?? 0)", ["presence-list-lag"]],
  ["15 probing", "presence.js", "probe: true,", "", ["presence-list"]],
  ["15 large rooms", "presence.js", "this.#show(this.#picture.crowded(event.count))", "void 0", ["presence-count"]],
  ["16 oneself", "core.js", "frame.user === this.user", "false", ["presence-oneself"]],
  ["16 the rest", "core.js", "Math.max(now, room._healed)", "now", ["presence-oneself"]],
  ["17 forgetting", "room.js", "const FORGET = 8_000", "const FORGET = 80_000", ["typing"]],
  ["17 the pace", "room.js", "const TYPING = 6_000", "const TYPING = 600", ["typing-pace"]],
  ["17 large rooms", "core.js", "known.signals = null;", "void 0;", ["typing-too-large"]],
  ["18 other devices", "chat.js", "mark && void this.request", "void this.request", ["mark-elsewhere"]],
  ["18 the pace", "chat.js", "const MARKS = 5_000", "const MARKS = 50", ["mark"]],
  ["13 a last bye", "chat.js", "this.#close(event.reason);", "void 0;", ["bye-never"]],
  ["changes that are in the message", "room.js", "seq <= Math.max(old.head ?? 0, old.edited?.seq ?? 0)", "false", ["change-resume"]],
  ["deleted messages stay deleted", "room.js", "old.deleted ||", "", ["change-deleted"]],
  ["one's own changes", "log.js", '"message", "edit", "delete", "react"', '"message", "delete", "react"', ["change", "change-own"]],
];

for (const [index, [rule, file, found, replaced, red]] of OUTSIDE.entries()) {
  test(`without ${rule}: ${red.join(", ")}`, async () => {
    const copy = join(copies, `outside-${index}`);
    for (const part of ["src", "test"]) cpSync(join(source, "..", part), join(copy, part), { recursive: true });
    writeFileSync(join(copy, "package.json"), '{"type":"module"}');
    const text = readFileSync(join(copy, "src", file), "utf8");
    assert.equal(text.split(found).length, 2, `${JSON.stringify(found)} must be in ${file} once`);
    writeFileSync(join(copy, "src", file), text.replace(found, () => replaced));
    const { play } = (await import(pathToFileURL(join(copy, "test/shell.js")).href)) as typeof import("./shell.js");
    const all = scenarios();
    for (const name of red) assert.ok(await play(all.get(name) ?? ""), `${name} is green without ${rule}`);
  });
}
