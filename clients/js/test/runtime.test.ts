/** The client in runtimes that stop, sleep, share a store, or run for long. Time and sockets are those of the test. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

import { connect, type Chat, type Options } from "../src/index.js";
import { webStore } from "../src/store.js";
import type { Fields } from "./player.js";
import { Runtime, type Socket } from "./shell.js";

/** A service that answers each `join` at once, keeps one log for each room, and sends no copies. */
class Service {
  readonly logs = new Map<string, Fields[]>();
  readonly sent: Fields[] = [];
  readonly runtime: Runtime;
  /** False: nothing is answered. */
  works = true;

  constructor() {
    this.runtime = new Runtime((seen) => {
      if (seen["connect"]) queueMicrotask(() => this.#socket(seen["connect"])?.happens("open"));
      if (!seen["frame"]) return;
      const frame = seen["frame"] as Fields;
      this.sent.push(frame);
      if (this.works) queueMicrotask(() => this.#answer(this.#socket(seen["send"]), frame));
    });
  }

  connect(user: string, options: Options = {}): Chat {
    return connect("ws://x/prod", { user, WebSocket: this.runtime.WebSocket, ...options });
  }

  #socket(link: unknown): Socket | undefined {
    return this.runtime.sockets[Number(link) - 1];
  }

  #answer(socket: Socket | undefined, frame: Fields): void {
    const { action, id = null } = frame;
    const room = String(frame["room"]);
    const log = this.logs.get(room) ?? [];
    this.logs.set(room, log);
    const page = { room, id, epoch: "E", first: 1, head: log.length, headN: log.length };
    const after = Number((frame["since"] as Fields | undefined)?.["seq"] ?? frame["after"] ?? 0);
    let answer: Fields = { type: "left", id, room };
    if (action === "ping") answer = { type: "pong" };
    else if (action === "join") answer = { ...page, type: "joined", user: "alice", recovered: frame["since"] ? true : null, messages: log.slice(after) };
    else if (action === "history") answer = { ...page, type: "history", more: false, messages: log.slice(after, after + 100) };
    else if (action === "publish") {
      const known = log.findIndex((entry) => entry["id"] === id);
      const seq = known < 0 ? log.push({ type: "message", room, epoch: "E", seq: log.length + 1, n: log.length + 1, id, from: "alice", data: frame["data"] ?? null, at: 1 }) : known + 1;
      answer = { type: "ack", id, room, epoch: "E", seq, n: seq, at: 1, delivered: 0, gone: 0, failed: 0 };
    }
    socket?.happens("message", { data: JSON.stringify(answer) });
  }

  /** Another user says something, which reaches nobody until the log is read. */
  unheard(room: string, data: string): void {
    const log = this.logs.get(room) ?? [];
    this.logs.set(room, log);
    log.push({ type: "message", room, epoch: "E", seq: log.length + 1, n: log.length + 1, from: "bob", data, at: 1 });
  }
}

async function during(play: (service: Service) => Promise<void>): Promise<void> {
  const service = new Service();
  try {
    await play(service);
  } finally {
    service.runtime.end();
  }
}

/** Puts the page into the background, or back. */
function background(hidden: boolean): void {
  Object.assign(globalThis, { document: { hidden }, addEventListener: () => undefined });
}

function foreground(): void {
  Object.assign(globalThis, { document: undefined, addEventListener: undefined });
}

test("a computer that has slept connects again at once, and shows what was said meanwhile", () =>
  during(async (service) => {
    const { runtime } = service;
    const chat = service.connect("alice");
    const room = chat.room("lobby");
    await runtime.advance(1_000);
    assert.deepEqual([room.state, runtime.sockets.length], ["live", 1]);
    runtime.sleep(3_600_000);
    service.unheard("lobby", "while you slept");
    await runtime.advance(runtime.now + 40_000);
    assert.equal(runtime.sockets.length, 2);
    assert.deepEqual([room.state, room.messages.map(({ data }) => data)], ["live", ["while you slept"]]);
    chat.close();
  }));

test("a page in the background, whose timers run once a minute, stays connected and says something within 10 minutes", () =>
  during(async (service) => {
    background(true);
    try {
      const { runtime } = service;
      const chat = service.connect("alice");
      const room = chat.room("lobby");
      await runtime.advance(60_000, 60_000);
      let silent = 0;
      for (let minute = 0; minute < 60; minute += 1) {
        const { length } = service.sent;
        await runtime.advance(runtime.now + 60_000, 60_000);
        silent = service.sent.length > length ? 0 : silent + 1;
        assert.ok(silent < 10, `nothing was sent for ${silent} minutes`);
      }
      // No late timer was taken for a sleep.
      assert.deepEqual([runtime.sockets.length, room.state], [1, "live"]);
      chat.close();
    } finally {
      foreground();
    }
  }));

test("two tabs that share a store send each message once, and each shows the whole log", () =>
  during(async (service) => {
    const { runtime } = service;
    const items = new Map<string, string>();
    const storage = {
      getItem: (key: string) => items.get(key) ?? null,
      setItem: (key: string, value: string) => void items.set(key, value),
      removeItem: (key: string) => void items.delete(key),
    };
    const tab = () => service.connect("alice", { store: webStore(storage, "alice") });
    const [first, second] = [tab(), tab()];
    const [left, right] = [first.room("lobby"), second.room("lobby")];
    await runtime.advance(1_000);
    service.works = false;
    const waits = left.send("from the left");
    await runtime.advance(2_000);
    // A third tab finds the message in the store, and sends it too.
    const third = tab().room("lobby");
    service.works = true;
    right.send("from the right");
    await runtime.advance(60_000);
    await waits.done;
    for (const room of [left, right, third]) {
      const texts = room.messages.map(({ data, status }) => `${data as string} ${status}`).sort();
      assert.deepEqual(texts, ["from the left stored", "from the right stored"]);
    }
    for (const room of [left, right, third]) room.chat.close();
  }));

test("10,000 messages and 1,000 rooms that were left do not stay in memory", () => {
  const script = join(import.meta.dirname, "memory.js");
  const done = spawnSync(process.execPath, ["--expose-gc", script], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr);
  const { empty, full, left } = JSON.parse(done.stdout) as { empty: number; full: number; left: number };
  // The messages were there, or the test measures nothing.
  assert.ok(full - empty > 2_000_000, done.stdout);
  assert.ok(left - empty < (full - empty) / 10, done.stdout);
});
