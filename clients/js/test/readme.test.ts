/** The code of the README runs as it stands, but for the address of the service. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import type { Browser } from "playwright-core";

import { browser, client, pages } from "./browser.js";
import { gateway, until, type Gateway } from "./gateway.js";

const readme = readFileSync(join(client, "README.md"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "roomchat-readme-"));
let service: Gateway;
let chromium: Browser;

before(async () => {
  [service, chromium] = await Promise.all([gateway(), browser()]);
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(client, join(folder, "node_modules/roomchat"));
  for (const name of ["ws", "react", "react-dom"]) symlinkSync(join(client, "node_modules", name), join(folder, "node_modules", name));
});
after(async () => {
  await chromium?.close();
  await service?.stop();
  rmSync(folder, { recursive: true });
});

/** Returns the first block of a language. */
function block(language: string): string {
  const [, code] = readme.split(`\`\`\`${language}\n`);
  assert.ok(code, language);
  return (code.split("\n```")[0] ?? "").replace("ws://127.0.0.1:3000/prod", service.url);
}

test("the page, the React component under StrictMode and the program for Node.js talk to each other", async () => {
  writeFileSync(join(folder, "plain.html"), `<!doctype html>${block("html")}`);
  writeFileSync(join(folder, "app.tsx"), block("tsx"));
  writeFileSync(
    join(folder, "main.tsx"),
    `import { StrictMode } from "react"; import { createRoot } from "react-dom/client"; import { App } from "./app";
     const root = createRoot(document.getElementById("root"));
     root.render(<StrictMode><App /></StrictMode>);
     window.unmount = () => root.render(null);
     window.mount = () => root.render(<StrictMode><App /></StrictMode>);`,
  );
  writeFileSync(join(folder, "react.html"), '<!doctype html><div id="root"></div><script type="module" src="./main.js"></script>');
  await build({
    entryPoints: [join(folder, "main.tsx")],
    outfile: join(folder, "main.js"),
    bundle: true,
    format: "esm",
    jsx: "automatic",
    preserveSymlinks: false,
    define: { "process.env.NODE_ENV": '"development"' },
    alias: { react: join(client, "node_modules/react") },
    logLevel: "silent",
  });
  writeFileSync(join(folder, "echo.mjs"), block("js"));
  const echo = spawn(process.execPath, [join(folder, "echo.mjs")], { stdio: "inherit" });
  after(() => echo.kill());
  const site = await pages({
    "/plain.html": join(folder, "plain.html"),
    "/react.html": join(folder, "react.html"),
    "/main.js": join(folder, "main.js"),
  });
  after(site.stop);
  const plain = await chromium.newPage();
  await plain.goto(`${site.url}/plain.html`);
  const react = await chromium.newPage();
  const leaves: string[] = [];
  let closed = 0;
  react.on("websocket", (socket) => {
    socket.on("close", () => (closed += 1));
    socket.on("framesent", ({ payload }) => String(payload).includes('"leave"') && leaves.push(String(payload)));
  });
  await react.goto(`${site.url}/react.html`);
  const lines = () => Promise.all([plain, react].map((page) => page.locator("li").allTextContents()));
  await until("the bot is there", async () => {
    // It answers what is said after it has come.
    await plain.fill("#text", "hi");
    await plain.press("#text", "Enter");
    await plain.waitForTimeout(500);
    return (await lines()).every((shown) => shown.includes("echo: hi"));
  });
  await react.fill("input", "hello from React");
  await react.press("input", "Enter");
  await until("all", async () => (await lines()).every((shown) => shown.includes("echo: hello from React")));
  const [first, second] = await lines();
  assert.deepEqual(first, second);
  // StrictMode has mounted twice, and the component comes back within the second: the room was never left.
  await react.evaluate(() => (window as unknown as { unmount(): void }).unmount());
  await react.evaluate(() => (window as unknown as { mount(): void }).mount());
  await react.waitForTimeout(1500);
  assert.deepEqual((await lines())[1], second);
  assert.deepEqual([leaves, closed], [[], 0]);
  await react.evaluate(() => (window as unknown as { unmount(): void }).unmount());
  // The last room is left by closing the connection.
  await until("the room is left", () => closed === 1);
});
