/** The page in examples/web: what a person does with it, in both colours, on a phone, by keyboard. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";

import { browser, pages } from "./browser.js";
import { gateway, issuer, until, type Gateway } from "./gateway.js";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

let service: Gateway;
let chromium: Browser;
let site: Awaited<ReturnType<typeof pages>>;

before(async () => {
  [service, chromium, site] = await Promise.all([gateway(), browser(), pages()]);
});
after(async () => {
  await chromium?.close();
  site?.stop();
  await service?.stop();
});

let rooms = 0;

async function open(user: string, room: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await (await chromium.newContext(options)).newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => assert.fail(error));
  await page.goto(`${site.url}/?${new URLSearchParams({ url: service.url, user, room }).toString()}`);
  await page.waitForSelector('#state[data-state="live"]');
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

const bubbles = (page: Page) => page.locator("#messages .bubble").allTextContents();

async function accessible(page: Page): Promise<void> {
  await page.addScriptTag({ path: axe });
  const violations = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
    return (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  });
  assert.deepEqual(violations, []);
}

test("two people talk, and see who is there, who types and what is unread", async () => {
  const room = `talk-${(rooms += 1)}`;
  const [alice, bob] = [await open("alice", room), await open("bob", room)];
  await say(alice, "hi <b>bob</b>");
  await until("the first", async () => (await bubbles(bob)).length === 1);
  await say(bob, "hi alice");
  await until("both", async () => (await bubbles(alice)).length === 2 && (await bubbles(bob)).length === 2);
  assert.deepEqual(await bubbles(bob), ["hi <b>bob</b>", "hi alice"]);
  assert.deepEqual(await bubbles(alice), await bubbles(bob));
  await until("people", async () => (await bob.locator("#people li").count()) === 2);
  await alice.locator("#text").pressSequentially("I am");
  await bob.waitForSelector("#typing:has-text('alice is typing')");
  await bob.click("#rooms button:has-text('lobby')");
  await say(alice, "psst");
  await bob.waitForSelector("#rooms .badge:has-text('1')");
  await bob.click(`#rooms button:has-text('${room}')`);
  await until("read", async () => (await bob.locator("#rooms .badge").count()) === 0);
  await until("all", async () => (await bubbles(bob)).length === 3);
  for (const page of [alice, bob]) await page.context().close();
});

test("the page shows a lost connection, what was resumed, and that messages are lost", async () => {
  const room = `hole-${(rooms += 1)}`;
  const [alice, bob] = [await open("alice", room), await open("bob", room)];
  await say(alice, "one");
  await until("one", async () => (await bubbles(bob)).length === 1);
  await service.admin("POST", "/clock", { advance: 7201 });
  await until("resumed", async () => Number(await bob.locator("#resumed").textContent()) > 0);
  await until("connections", async () => Number(await bob.locator("#connections").textContent()) > 1);
  // A position of an epoch that is no more, as after a table was restored.
  await bob.evaluate((room) => {
    const key = Object.keys(sessionStorage).find((key) => key.endsWith(`:${room}`)) ?? "";
    const saved = { position: { epoch: "01JZZZZZZZZZZZZZZZZZZZZZZZ", seq: 9 }, outbox: [] };
    window.addEventListener("pagehide", () => sessionStorage.setItem(key, JSON.stringify(saved)));
  }, room);
  await bob.reload();
  await bob.waitForSelector("#messages .hole:has-text('lost')");
  assert.deepEqual(await bubbles(bob), ["one"]);
  assert.equal(await bob.locator("#lost").textContent(), "1");
  for (const page of [alice, bob]) await page.context().close();
});

/** Opens the actions of a message, by keyboard, and presses one. */
async function act(page: Page, text: string, action: string): Promise<void> {
  const message = page.locator("#messages .message", { hasText: text });
  await message.locator(".more").focus();
  await page.keyboard.press("Enter");
  await message.locator(`.menu button:has-text("${action}")`).focus();
  await page.keyboard.press("Enter");
}

test("messages are edited, deleted and get reactions, and everybody sees the same", async () => {
  const room = `change-${(rooms += 1)}`;
  const [alice, bob] = [await open("alice", room), await open("bob", room)];
  await say(alice, "helo");
  await say(alice, "secret");
  await until("both", async () => (await bubbles(bob)).length === 2);
  await act(alice, "helo", "Edit");
  assert.equal(await alice.locator("#text").inputValue(), "helo");
  await say(alice, "hello");
  await act(bob, "hello", "👍");
  await act(alice, "hello", "👍");
  await act(alice, "secret", "Delete");
  const shown = (page: Page) => page.locator("#messages .body").evaluateAll((all) => all.map((one) => Array.from(one.querySelectorAll(".bubble, .reactions button, .note"), (part) => part.textContent)));
  const wanted = [["hello", "edited", "👍 2"], ["Deleted"]];
  for (const page of [alice, bob]) {
    await until("changed", async () => JSON.stringify(await shown(page)) === JSON.stringify(wanted));
    await page.locator('.reactions [aria-pressed="true"]').waitFor();
  }
  // Taken back by a click, with the pointer.
  await bob.click(".reactions button");
  await until("one left", async () => (await alice.locator(".reactions button").textContent()) === "👍 1");
  // Another person's message has neither.
  await bob.locator(".more").first().focus();
  await bob.keyboard.press("Enter");
  assert.equal(await bob.locator('.menu:not([hidden]) button:has-text("Edit")').count(), 0);
  await accessible(bob);
  // A page that comes later sees the present.
  const carol = await open("carol", room);
  await until("changed", async () => JSON.stringify(await shown(carol)) === JSON.stringify([["hello", "edited", "👍 1"], ["Deleted"]]));
  for (const page of [alice, bob, carol]) await page.context().close();
});

test("verified users write to each other, with a token in the address or in the field", async (t) => {
  const keys = mkdtempSync(join(tmpdir(), "roomchat-keys-"));
  t.after(() => rmSync(keys, { recursive: true, force: true }));
  const { flags, token } = issuer(keys);
  const other = await gateway(...flags);
  t.after(() => other.stop());
  const enter = async (user: string, field: boolean) => {
    const page = await (await chromium.newContext()).newPage();
    page.on("pageerror", (error) => assert.fail(error));
    await page.goto(`${site.url}/?${new URLSearchParams({ url: other.url }).toString()}${field ? "" : `#token=${token(user)}`}`);
    if (field) {
      await page.fill("#user", user);
      await page.click("summary");
      await page.fill("#token", token(user));
      await page.press("#token", "Enter");
    }
    await page.waitForSelector('#state[data-state="live"]');
    return page;
  };
  const [alice, bob] = [await enter("alice", true), await enter("bob", false)];
  await until("the name of the token", async () => (await bob.locator("#me").textContent()) === "bob");
  await alice.click('#people button:has-text("bob")');
  await say(alice, "psst");
  await bob.click('#pairs button:has-text("alice")');
  await until("read", async () => (await bubbles(bob)).join() === "psst");
  await say(bob, "yes?");
  await until("answered", async () => (await bubbles(alice)).join() === "psst,yes?");
  assert.equal(await alice.locator("#title").textContent(), "bob");
  await accessible(bob);
  await bob.reload();
  await bob.waitForSelector('#pairs button:has-text("alice")');
  for (const page of [alice, bob]) await page.context().close();
});

test("older messages come in front, and the page stays where it is", async () => {
  const room = `older-${(rooms += 1)}`;
  const alice = await open("alice", room);
  for (let n = 0; n < 60; n += 1) await say(alice, `message ${n}`);
  await until("stored", async () => (await alice.locator("#messages .stored").count()) === 60);
  const bob = await open("bob", room);
  assert.equal((await bubbles(bob)).length, 50);
  await bob.click("#older");
  await until("all", async () => (await bubbles(bob)).length === 60);
  assert.equal((await bubbles(bob))[0], "message 0");
  assert.equal(await bob.locator("#older").isVisible(), false);
  for (const page of [alice, bob]) await page.context().close();
});

test("a person without a name is asked for one, by keyboard alone", async () => {
  const page = await (await chromium.newContext()).newPage();
  await page.goto(`${site.url}/?${new URLSearchParams({ url: service.url }).toString()}`);
  await accessible(page);
  await page.keyboard.type("no spaces");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#refused:has-text('not valid')");
  await page.locator("#user").fill("");
  await page.keyboard.type("zoë");
  await page.keyboard.press("Enter");
  await page.waitForSelector('#state[data-state="live"]');
  assert.equal(await page.locator("#me").textContent(), "zoë");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.className), "skip");
  await page.keyboard.press("Enter");
  await page.keyboard.type("by keyboard");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#messages .stored:has-text('by keyboard')");
  await page.context().close();
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 800 }]) {
    test(`axe finds nothing in ${colorScheme} at ${viewport.width} px`, async () => {
      const room = `axe-${(rooms += 1)}`;
      const page = await open("alice", room, { colorScheme, viewport });
      await say(page, "hello");
      await say(page, "x".repeat(33_000));
      await page.waitForSelector("#messages .failed");
      await page.waitForSelector("#messages .stored");
      await accessible(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wide, false, "the page is wider than the screen");
      if (viewport.width < 400) {
        for (const [button, panel] of [["#show-rooms", "#rooms-panel"], ["#show-details", "#details"]] as const) {
          assert.equal(await page.locator(panel).isVisible(), false);
          await page.click(button);
          await page.locator(panel).waitFor({ state: "visible" });
          await page.waitForTimeout(300);
          await accessible(page);
          await page.keyboard.press("Escape");
          await page.locator(panel).waitFor({ state: "hidden" });
        }
      }
      await page.context().close();
    });
  }
}
