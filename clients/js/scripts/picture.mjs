// Makes the pictures of examples/web for the README from the real page: a conversation on the local service.
// Usage: node scripts/picture.mjs URL [FOLDER], with the URL of a service.
import { join } from "node:path";

const { browser, client, pages } = await import("../build/test/browser.js");
const [url, folder = join(client, "../../docs")] = process.argv.slice(2);
const [chromium, site] = [await browser(), await pages()];

async function open(user, options = {}, rooms = ["lobby", "garden"]) {
  const context = await chromium.newContext({ locale: "en-GB", ...options });
  const page = await context.newPage();
  const query = new URLSearchParams([["url", url], ["user", user], ...rooms.map((room) => ["room", room])]);
  await page.goto(`${site.url}/?${query}`);
  await page.waitForSelector('#state[data-state="live"]');
  return page;
}

const say = async (page, text) => {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
  await page.waitForTimeout(400);
};

/** Opens the actions of a message and presses one. */
async function act(page, text, action) {
  const message = page.locator("#messages .message", { hasText: text });
  await message.hover();
  await message.locator(".more").click();
  await message.locator(`.menu button:has-text("${action}")`).click();
}

const size = { width: 1180, height: 720 };
const bob = await open("bob");
const carol = await open("Carol");
await say(carol, "Good morning! The new build is on its way.");
await say(bob, "Nice. Did the night run finish?");
await say(carol, "It did: 12 000 schedules, no message lost, none twice.");
const alice = await open("alice", { viewport: size, deviceScaleFactor: 1, colorScheme: "light" });
const dark = await open("Dave", { viewport: size, deviceScaleFactor: 1, colorScheme: "dark" });
const phone = await open("Erin", { viewport: { width: 390, height: 760 }, deviceScaleFactor: 1, colorScheme: "dark" });
await say(alice, "So the client puts the log together again after each cut?");
await say(bob, "Yes. Watch the panel on the right: it counts what was resumed and which gaps were filled.");
await say(alice, "So it does: my train was in a tunel just now.");
await act(bob, "no message lost", "🎉");
await act(alice, "no message lost", "🎉");
await act(alice, "tunel", "Edit");
await say(alice, "So it does: my train was in a tunnel just now.");
await act(dark, "Watch the panel", "👍");
await act(carol, "Watch the panel", "👍");
await say(carol, "And if the bulid breaks again? Asking for a friend.");
await act(carol, "bulid", "Delete");
await bob.click("#rooms button:has-text('garden')");
// The pages are put away for a moment, as a phone does it.
const shown = [alice, dark, phone];
const event = (page, name) =>
  page.evaluate((name) => window.dispatchEvent(new PageTransitionEvent(name, { persisted: true })), name);
for (const page of shown) await event(page, "pagehide");
await say(bob, "Lunch in the garden at noon?");
await say(bob, "I bring the bread.");
for (const page of shown) await event(page, "pageshow");
await carol.waitForTimeout(1000);
await carol.locator("#text").pressSequentially("I will be");
for (const page of shown) await page.waitForSelector('#state[data-state="live"]');
await alice.waitForTimeout(1500);
await alice.screenshot({ path: join(folder, "web-light.png") });
await dark.screenshot({ path: join(folder, "web-dark.png") });
await phone.screenshot({ path: join(folder, "web-phone.png") });
await chromium.close();
site.stop();
