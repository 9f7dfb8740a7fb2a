/** The library in a real browser against the service on this machine. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";

import type * as Library from "../src/index.js";
import type * as Store from "../src/store.js";
import { browser, client, pages } from "./browser.js";
import { gateway, issuer, until, type Gateway } from "./gateway.js";

/** The variables of the tests in a page. */
declare global {
  interface Window {
    roomchat: typeof Library & typeof Store;
    chat: Library.Chat;
    room: Library.Room<string>;
    events: string[];
    lost: Library.Lost[];
    mint(why: string): Promise<string>;
  }
}

let service: Gateway;
let chromium: Browser;
let site: Awaited<ReturnType<typeof pages>>;

before(async () => {
  [service, chromium, site] = await Promise.all([
    gateway(),
    browser(),
    pages({ "/blank.html": join(client, "test/blank.html") }),
  ]);
});
after(async () => {
  await chromium?.close();
  site?.stop();
  await service?.stop();
});

let rooms = 0;
const name = () => `page-${(rooms += 1)}`;

interface Setup {
  readonly user: string;
  readonly room: string;
  readonly url?: string;
  readonly context?: BrowserContext;
  readonly token?: (why: string) => string;
}

/** Opens a page of a user in a room. */
async function open({ context, token, ...setup }: Setup): Promise<Page> {
  const own = context ?? (await chromium.newContext({ ignoreHTTPSErrors: true }));
  const page = await own.newPage();
  if (token) await page.exposeFunction("mint", token);
  await page.goto(`${site.url}/blank.html`);
  await enter(page, { url: service.url, ...setup });
  return page;
}

async function enter(page: Page, setup: Setup & { url: string }): Promise<void> {
  await page.waitForFunction(() => window.roomchat !== undefined);
  await page.evaluate(({ user, room, url }) => {
    const store = window.roomchat.webStore(sessionStorage, user);
    window.chat = window.roomchat.connect(url, {
      store,
      live: true,
      ...("mint" in window ? { getToken: (why) => window.mint(why) } : { user }),
    });
    window.events = [];
    window.lost = [];
    window.chat.on("connected", ({ renewed }) => window.events.push(renewed ? "renewed" : "connected"));
    window.chat.on("disconnected", () => window.events.push("disconnected"));
    window.chat.on("error", () => undefined);
    window.room = window.chat.room(room);
    window.room.on("lost", (lost) => window.lost.push(lost));
  }, setup);
  await state(page, "live");
}

const state = (page: Page, wanted: string) =>
  until(`the room is ${wanted}`, () => page.evaluate((wanted) => window.room.state === wanted, wanted), 120);
const say = (page: Page, text: string) => page.evaluate((text) => void window.room.send(text), text);
const stored = (page: Page) =>
  page.evaluate(() => window.room.messages.filter(({ status }) => status === "stored").map(({ data }) => data));
const lost = (page: Page) => page.evaluate(() => window.lost.length);
const events = (page: Page) => page.evaluate(() => window.events);

/** Waits until all pages show these messages, in any order that is the same for all. */
async function agree(texts: string[], ...all: Page[]): Promise<void> {
  const wanted = [...texts].sort().join();
  await until(`all show ${texts.length}`, async () => {
    const shown = await Promise.all(all.map(stored));
    return shown.every((texts) => [...texts].sort().join() === wanted);
  }, 240);
  const shown = await Promise.all(all.map(stored));
  for (const other of shown) assert.deepEqual(other, shown[0]);
}

for (const scheme of ["ws", "wss"]) {
  test(`two pages talk over ${scheme}://`, async () => {
    const room = name();
    const url = service.url.replace("ws:", `${scheme}:`);
    const [alice, bob] = await Promise.all([open({ user: "alice", room, url }), open({ user: "bob", room, url })]);
    await say(alice, "hi");
    await agree(["hi"], alice, bob);
    await say(bob, "hello");
    await agree(["hi", "hello"], alice, bob);
    await alice.evaluate(() => window.room.typing());
    await until("typing", () => bob.evaluate(() => window.room.typists.join() === "alice"));
    await say(alice, "done");
    await until("not typing", () => bob.evaluate(() => window.room.typists.length === 0));
    // A user who says something has read the messages before it.
    assert.equal(await bob.evaluate(() => window.room.unread), 1);
    await alice.context().close();
    await bob.context().close();
  });
}

test("a page that was offline gets what it missed, and sends what it wrote", async () => {
  const room = name();
  const [alice, bob] = [await open({ user: "alice", room }), await open({ user: "bob", room })];
  await say(alice, "one");
  await agree(["one"], alice, bob);
  await bob.context().setOffline(true);
  await bob.evaluate(() => window.dispatchEvent(new Event("online")));
  await say(alice, "two");
  await say(bob, "three");
  await until("bob notices", () => bob.evaluate(() => window.chat.state === "offline"));
  await bob.context().setOffline(false);
  await agree(["one", "two", "three"], alice, bob);
  assert.equal(await lost(bob), 0);
  await alice.context().close();
  await bob.context().close();
});

test("a page that is loaded again goes on, and sends what was not stored", async () => {
  const room = name();
  const [alice, bob] = [await open({ user: "alice", room }), await open({ user: "bob", room })];
  await say(alice, "one");
  await agree(["one"], alice, bob);
  await service.admin("PUT", "/faults", [{ on: "message", do: "drop", route: "publish", query: { user: "alice" } }]);
  await say(alice, "two");
  await say(bob, "three");
  await alice.reload();
  await service.admin("PUT", "/faults", []);
  await enter(alice, { user: "alice", room, url: service.url });
  await agree(["one", "two", "three"], alice, bob);
  assert.equal(await lost(alice), 0);
  await alice.context().close();
  await bob.context().close();
});

test("a page that comes back from another one is connected again", async () => {
  const room = name();
  const [alice, bob] = [await open({ user: "alice", room }), await open({ user: "bob", room })];
  await alice.goto("about:blank");
  await say(bob, "meanwhile");
  await alice.goBack();
  // With the cache the page goes on where it was, without it the page is new.
  if (await alice.evaluate(() => window.chat === undefined)) await enter(alice, { user: "alice", room, url: service.url });
  await agree(["meanwhile"], alice, bob);
  await alice.context().close();
  await bob.context().close();
});

test("a killed service with --data loses nothing", async () => {
  const data = mkdtempSync(join(tmpdir(), "roomchat-browser-"));
  after(() => rmSync(data, { recursive: true, force: true }));
  let other = await gateway("--data", data);
  const room = name();
  const { url } = other;
  const [alice, bob] = [await open({ user: "alice", room, url }), await open({ user: "bob", room, url })];
  await say(alice, "one");
  await agree(["one"], alice, bob);
  await other.kill();
  await until("alice notices", () => alice.evaluate(() => window.chat.state === "offline"));
  await say(alice, "two");
  other = await gateway("--data", data, "--port", new URL(url).port);
  await agree(["one", "two"], alice, bob);
  assert.equal((await lost(alice)) + (await lost(bob)), 0);
  await alice.context().close();
  await bob.context().close();
  await other.stop();
});

test("after two hours the service ends the connection, and nothing is lost", async () => {
  const room = name();
  const [alice, bob] = [await open({ user: "alice", room }), await open({ user: "bob", room })];
  await say(alice, "one");
  await agree(["one"], alice, bob);
  await service.admin("POST", "/clock", { advance: 7201 });
  await until("disconnected", async () => (await events(alice)).includes("disconnected"));
  await say(alice, "two");
  await agree(["one", "two"], alice, bob);
  assert.equal((await lost(alice)) + (await lost(bob)), 0);
  await alice.context().close();
  await bob.context().close();
});

test("connections are renewed before their tokens end, without a pause", async () => {
  const keys = mkdtempSync(join(tmpdir(), "roomchat-keys-"));
  after(() => rmSync(keys, { recursive: true, force: true }));
  const { flags, token } = issuer(keys);
  const other = await gateway(...flags);
  const room = name();
  const { url } = other;
  const alice = await open({ user: "alice", room, url, token: () => token("alice", "--for", "20s") });
  const bob = await open({ user: "bob", room, url, token: () => token("bob", "--for", "20s") });
  assert.equal(await alice.evaluate(() => window.chat.user), "alice");
  const texts: string[] = [];
  await until("renewed twice", async () => {
    texts.push(`m${texts.length}`);
    await say(alice, texts.at(-1) ?? "");
    await alice.waitForTimeout(1000);
    return (await events(bob)).filter((event) => event === "renewed").length >= 2;
  }, 120);
  await agree(texts, alice, bob);
  assert.ok(!(await events(alice)).includes("disconnected"));
  assert.equal((await lost(alice)) + (await lost(bob)), 0);
  await alice.context().close();
  await bob.context().close();
  await other.stop();
});

test("a network that loses 30 % of the frames loses no message", async () => {
  const room = name();
  const all = await Promise.all([open({ user: "alice", room }), open({ user: "bob", room })]);
  await service.admin("PUT", "/faults", [
    { on: "frame", do: "drop", probability: 0.3 },
    { on: "message", do: "drop", probability: 0.3 },
  ]);
  const texts = [0, 1, 2].flatMap((n) => [`alice ${n}`, `bob ${n}`]);
  for (const text of texts) await say(all[text.startsWith("alice") ? 0 : 1], text);
  await agree(texts, ...all);
  await service.admin("PUT", "/faults", []);
  for (const page of all) {
    assert.equal(await lost(page), 0);
    await page.context().close();
  }
});
