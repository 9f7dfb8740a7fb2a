/**
 * A real browser: the Chromium that the package `@sparticuz/chromium` ships, or the one whose path is in
 * `ROOMCHAT_BROWSER`.
 */

import chromium from "@sparticuz/chromium";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium as playwright, type Browser } from "playwright-core";

export const client = join(import.meta.dirname, "../..");

export async function browser(): Promise<Browser> {
  const executablePath = process.env["ROOMCHAT_BROWSER"] ?? (await chromium.executablePath());
  // One process for all pages would end all of them with one, so of the package's arguments only these are used.
  return playwright.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
}

/** Serves examples/web, the library, and further files. Returns the address and a function that stops it. */
export async function pages(more: Record<string, string> = {}): Promise<{ url: string; stop: () => void }> {
  const { serve } = (await import(pathToFileURL(join(client, "scripts/serve.mjs")).href)) as {
    serve(port: number, more: Record<string, string>): Promise<Server>;
  };
  const server = await serve(0, more);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop: () => void server.close() };
}
