/** The client in Node.js against the service on this machine. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";

import { ChatError, connect, type Chat, type Lost, type Options, type Room } from "../src/index.js";
import { block, conversations, unread } from "../src/direct.js";
import { presence } from "../src/presence.js";
import { webStore } from "../src/store.js";
import { gateway, issuer, until, type Gateway } from "./gateway.js";
import { wrong } from "./schema.js";
import type { Json } from "./player.js";

let service: Gateway;
before(async () => (service = await gateway()));
after(() => service?.stop());

/** A socket that compares each frame with the schemas. */
class Checked extends WebSocket {
  constructor(...parameters: ConstructorParameters<typeof WebSocket>) {
    super(...parameters);
    this.on("message", (data) => check(String(data), "service"));
  }

  override send(data: string): void {
    check(data, "client");
    super.send(data);
  }
}

const mistakes: string[] = [];
const types = new Set<string>();
function check(text: string, from: "service" | "client"): void {
  const frame = JSON.parse(text) as Record<string, Json>;
  const mistake = wrong(frame, from);
  if (mistake) mistakes.push(mistake);
  types.add(String(frame["type"] ?? frame["action"]));
}

const chats: Chat[] = [];
function chat(user: string, options: Options = {}, url = service.url): Chat {
  const made = connect(url, { ...(options.getToken ? {} : { user }), WebSocket: Checked, ...options });
  chats.push(made);
  return made;
}
after(() => chats.forEach((chat) => chat.close()));

let rooms = 0;
function name(): string {
  rooms += 1;
  return `room-${rooms}`;
}

const texts = (room: Room) => room.messages.map(({ data }) => data);
const live = (...rooms: Room[]) => until("live", () => rooms.every(({ state }) => state === "live"));

/** A storage as browsers have it. */
function storage(): Parameters<typeof webStore>[0] & { size: number } {
  const items = new Map<string, string>();
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
    get size() {
      return items.size;
    },
  };
}

test("two talk: a message is shown at once, settled by its ack, and in the same order for both", async () => {
  const lobby = name();
  const [alice, bob] = [chat("alice").room<string>(lobby), chat("bob").room<string>(lobby)];
  assert.equal(alice.chat.state, "connecting");
  await live(alice as Room, bob as Room);
  const sent = alice.send("hi");
  assert.equal(sent.status, "pending");
  assert.deepEqual(
    alice.messages.map(({ data, status, from }) => [data, status, from]),
    [["hi", "pending", "alice"]],
  );
  const key = alice.messages[0]?.key;
  const ack = await sent.done;
  assert.deepEqual([ack.seq, sent.status, ack.delivered], [1, "stored", 1]);
  assert.deepEqual(
    alice.messages.map(({ status, seq, key }) => [status, seq, key]),
    [["stored", 1, key]],
  );
  for (let n = 0; n < 10; n += 1) {
    alice.send(`a${n}`);
    bob.send(`b${n}`);
  }
  await until("all", () => [alice, bob].every(({ messages }) => messages.filter(({ seq }) => seq).length === 21));
  assert.deepEqual(texts(alice as Room), texts(bob as Room));
  const own = texts(alice as Room).filter((text) => String(text).startsWith("a"));
  assert.deepEqual(own, ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"]);
  const { members, count } = await bob.members();
  assert.deepEqual([members.map(({ user }) => user), count], [["alice", "bob"], 2]);
});

test("older pages go in front, until there are no more", async () => {
  const lobby = name();
  const alice = chat("alice").room(lobby);
  await Promise.all(Array.from({ length: 30 }, (_, n) => alice.send(n).done));
  const bob = chat("bob").room(lobby, { history: 10 });
  await live(bob);
  assert.deepEqual(texts(bob), Array.from({ length: 10 }, (_, n) => n + 20));
  assert.equal(await bob.older(15), true);
  assert.equal(await bob.older(15), false);
  assert.deepEqual(texts(bob), Array.from({ length: 30 }, (_, n) => n));
});

test("after a reload the log goes on, and unsent messages are sent once", async () => {
  const lobby = name();
  const items = storage();
  const store = () => webStore(items, "alice");
  const first = chat("alice", { store: store() });
  const before = first.room(lobby);
  await before.send("one").done;
  await service.admin("PUT", "/faults", [{ on: "frame", do: "drop", query: { user: "alice" } }]);
  // It is stored, and its `ack` is lost.
  before.send("two");
  await until("stored", async () => (await chat("carol").room(lobby).members()).count > 0);
  before.send("three");
  const bob = chat("bob").room(lobby);
  await until("bob has it", () => texts(bob).includes("two"));
  first.close();
  await service.admin("PUT", "/faults", []);
  await bob.send("meanwhile").done;
  const again = chat("alice", { store: store() }).room(lobby);
  assert.deepEqual(
    again.messages.map(({ data, status }) => [data, status]),
    [
      ["two", "pending"],
      ["three", "pending"],
    ],
  );
  await until("all", () => again.messages.length === 4 && again.messages.every(({ status }) => status === "stored"));
  assert.deepEqual(texts(again), ["one", "two", "meanwhile", "three"]);
  await until("bob too", () => texts(bob).length === 4);
  assert.deepEqual(texts(bob), texts(again));
  await again.leave();
  assert.equal(items.size, 0);
});

test("what is refused says so, and stays visible until it is discarded", async () => {
  const alice = chat("alice").room(name());
  await live(alice);
  const large = alice.send("x".repeat(33_000));
  await assert.rejects(large.done, (error: ChatError) => error.code === "payload_too_large");
  const deep = alice.send(Array.from({ length: 40 }).reduce((inner: unknown) => [inner], 1));
  await assert.rejects(deep.done, (error: ChatError) => error.code === "bad_request");
  assert.deepEqual(
    alice.messages.map(({ status, error }) => [status, error?.code]),
    [
      ["failed", "payload_too_large"],
      ["failed", "bad_request"],
    ],
  );
  alice.discard(deep.id);
  assert.equal(alice.messages.length, 1);
  assert.throws(() => alice.send(undefined), TypeError);
  assert.throws(() => alice.chat.room("no spaces"), TypeError);
  await alice.leave();
  assert.equal(alice.state, "left");
  assert.equal(alice.chat.state, "idle");
  await assert.rejects(alice.send("late").done, (error: ChatError) => error.code === "not_a_member");
});

test("a hundred messages wait, and no more", async () => {
  const alice = chat("alice", {}, "ws://127.0.0.1:9/prod").room(name());
  const sent = Array.from({ length: 101 }, (_, n) => alice.send(n));
  assert.equal(alice.messages.length, 100);
  await assert.rejects(sent[100]?.done ?? Promise.resolve(), (error: ChatError) => error.code === "outbox_full");
  alice.chat.close();
  await assert.rejects(sent[0]?.done ?? Promise.resolve(), (error: ChatError) => error.code === "closed");
});

test("a room that was left can be entered again at once, and its last connection closes", async () => {
  const alice = chat("alice");
  const [first, second] = [name(), name()];
  const room = alice.room(first);
  await room.send("one").done;
  const other = alice.room(second);
  await live(room, other);
  const gone = room.leave();
  const again = alice.room(first);
  assert.notEqual(again, room);
  await gone;
  await live(again);
  await until("history", () => again.messages.length === 1);
  assert.equal(alice.room(first), again);
  await Promise.all([again.leave(), other.leave()]);
  assert.equal(alice.state, "idle");
  await live(alice.room(second));
});

test("a service that is killed loses nothing, and is joined again", async () => {
  const data = mkdtempSync(join(tmpdir(), "roomchat-js-"));
  after(() => rmSync(data, { recursive: true, force: true }));
  let other = await gateway("--data", data);
  const port = new URL(other.url).port;
  const alice = chat("alice", {}, other.url).room("lobby");
  const bob = chat("bob", {}, other.url).room("lobby");
  await alice.send("one").done;
  const lost: Lost[] = [];
  bob.on("lost", (event) => void lost.push(event));
  await other.kill();
  await until("offline", () => alice.chat.state === "offline");
  const sent = alice.send("two");
  other = await gateway("--data", data, "--port", port);
  await sent.done;
  await until("bob has both", () => texts(bob).length === 2);
  assert.deepEqual(texts(bob), ["one", "two"]);
  assert.deepEqual(lost, []);
  alice.chat.close();
  bob.chat.close();
  await other.stop();
});

test("who cannot be reached is told after three tries", async () => {
  const alone = chat("alice", {}, "ws://127.0.0.1:9/prod");
  const errors: ChatError[] = [];
  alone.on("error", (error) => void errors.push(error));
  alone.room("lobby");
  await until("told", () => errors.length > 0);
  assert.deepEqual([errors[0]?.code, errors[0]?.retrying], ["refused", true]);
  alone.close();
});

test("without a token the chat closes", async () => {
  const whys: string[] = [];
  const getToken = (why: string) => {
    whys.push(why);
    return null;
  };
  const nobody = chat("alice", { getToken });
  const room = nobody.room("lobby");
  await until("closed", () => nobody.state === "closed");
  assert.deepEqual([whys, room.state], [["first"], "left"]);
  assert.throws(() => nobody.room("lobby"), ChatError);
});

test("verified users have rooms of two, marks on all devices, and moderators", async () => {
  const keys = mkdtempSync(join(tmpdir(), "roomchat-keys-"));
  after(() => rmSync(keys, { recursive: true, force: true }));
  const { flags, token } = issuer(keys);
  const other = await gateway(...flags);
  after(() => other.stop());
  const as = (user: string, ...more: string[]) => chat(user, { getToken: () => token(user, ...more), live: true }, other.url);
  const [alice, bob, phone] = [as("alice", "--room", "*=join,history,publish,moderate"), as("bob"), as("bob")];
  const rooms = [alice, bob, phone].map((chat) => chat.room("lobby"));
  await live(...rooms);
  assert.equal(phone.user, "bob");
  const [, lobby, pocket] = rooms as [Room, Room, Room];

  await alice.room("lobby").send("one").done;
  await alice.room("lobby").send("two").done;
  await until("unread", () => lobby.unread === 2 && pocket.unread === 2);
  assert.deepEqual(await unread(bob, ["lobby"]), new Map([["lobby", 2]]));
  lobby.mark();
  await until("read on both", () => lobby.unread === 0 && pocket.unread === 0);
  await until("stored", async () => (await unread(phone, ["lobby"])).get("lobby") === 0);

  const told: string[] = [];
  bob.on("direct", ({ user }) => void told.push(user));
  const toBob = alice.to("bob");
  await toBob.send("psst").done;
  await until("told", () => told.length > 0);
  assert.deepEqual([told, await conversations(bob)], [["alice"], ["alice"]]);
  const toAlice = bob.to("alice");
  await until("history", () => texts(toAlice).join() === "psst");
  await toAlice.send("yes?").done;
  await until("both", () => texts(toBob).length === 2);
  assert.deepEqual(texts(toBob), texts(toAlice));
  await block(bob, "alice");
  await assert.rejects(toBob.send("hello?").done, (error: ChatError) => error.code === "forbidden");
  await block(bob, "alice", false);
  await toBob.send("hello").done;

  const errors: string[] = [];
  bob.on("error", ({ code }) => void errors.push(code));
  phone.on("error", () => undefined);
  await alice.request({ action: "kick", room: "lobby", user: "bob" });
  await until("kicked", () => lobby.state === "denied" && pocket.state === "denied");
  assert.deepEqual(errors, ["kicked"]);
  await live(bob.room("lobby"));
  for (const chat of [alice, bob, phone]) chat.close();
});

test("a message that is edited, deleted or reacted to is the same for all: live, resumed, and in older pages", async () => {
  const lobby = name();
  const alice = chat("alice").room<string>(lobby);
  const bob = chat("bob").room<string>(lobby);
  await live(alice as Room, bob as Room);
  const [first, second] = await Promise.all(["helo", "secret"].map((text) => alice.send(text).done));
  assert.ok(first && second);
  await until("both", () => bob.messages.length === 2);
  // Bob's page is put away, and comes back later.
  bob.chat._handle({ type: "suspend" });
  await alice.edit(first.seq, "hello");
  await alice.react(first.seq, "👍");
  // Twice the same is once.
  await alice.react(first.seq, "👍");
  await alice.remove(second.seq, "a slip");
  await assert.rejects(alice.edit(second.seq, "late"), (error: ChatError) => error.code === "no_such_message");
  bob.chat._handle({ type: "woke" });
  const shown = ({ messages }: Room<string>) => messages.map(({ data, edited, deleted, reactions }) => [data, edited?.seq, deleted?.by, deleted?.reason, reactions?.["👍"]?.count]);
  const wanted = [["hello", first.seq + 2, undefined, undefined, 1], [undefined, undefined, "alice", "a slip", undefined]];
  const carol = chat("carol").room<string>(lobby, { history: 0 });
  await live(carol as Room);
  await carol.older(100);
  for (const room of [alice, bob, carol]) {
    await until(`${room.chat.user} sees it`, () => JSON.stringify(shown(room)) === JSON.stringify(wanted));
  }
  assert.deepEqual([alice, carol].map(({ messages }) => messages[0]?.reactions?.["👍"]?.mine), [true, false]);
  await carol.react(first.seq, "👍");
  await alice.react(first.seq, "👍", false);
  for (const room of [alice, bob, carol]) await until("one", () => room.messages[0]?.reactions?.["👍"]?.count === 1);
});

test("who is there is known to those who ask for it", async () => {
  const lobby = name();
  const [alice, bob] = ["alice", "bob"].map((user) => chat(user, { live: true }).room(lobby)) as [Room, Room];
  const here = presence(alice);
  assert.equal(presence(alice), here);
  const seen: string[] = [];
  here.subscribe(({ event }) => void seen.push(event));
  await live(alice, bob);
  await until("bob", () => here.users.map(({ user }) => user).join() === "bob");
  await bob.setState({ status: "away" });
  await until("away", () => JSON.stringify(here.users[0]?.state) === '{"status":"away"}');
  // A second device is nobody new, and the state lives on with a new connection.
  const phone = chat("bob", { live: true }).room(lobby);
  await live(phone);
  await bob.leave();
  await phone.leave();
  await until("gone", () => here.users.length === 0, 30);
  assert.deepEqual([seen[0], seen.at(-1), seen.filter((event) => event === "leave").length], ["join", "leave", 1]);
});

test("every frame that was sent or received is as the schemas say", () => {
  assert.deepEqual(mistakes, []);
  assert.ok(types.size > 12, [...types].join());
});
