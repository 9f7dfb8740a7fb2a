/** Starts the service as a newcomer does: `scripts/local.sh`, on free ports. */

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { repository } from "./player.js";

export interface Gateway {
  /** `ws://127.0.0.1:PORT/prod`. */
  readonly url: string;
  /** Calls the admin endpoint. */
  admin(method: string, path: string, body?: unknown): Promise<unknown>;
  /** Kills it, as a crash does. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

/** The limits of the service are for people: tests say more in a second. */
const LIMITS = "limits={ per_user = 200, per_room = 0, frames_per_second = 10000, burst = 10000 }";

const OPTIONS = { stdio: ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"], detached: true };

/** Starts a gateway. The first build takes minutes. */
export async function gateway(...flags: string[]): Promise<Gateway> {
  const port = flags.includes("--port") ? [] : ["--port", "0"];
  const args = [...port, "--admin-port", "0", "--log", "json", "--var", LIMITS, ...flags];
  // A folder of built binaries, where the build need not be checked for each gateway.
  const built = process.env["ROOMCHAT_BINARIES"];
  const child = built
    ? spawn(`${built}/roomchat-local`, ["--terraform", `${repository}/terraform`, "--functions", built, ...args], OPTIONS)
    : spawn(`${repository}/scripts/local.sh`, args, OPTIONS);
  let errors = "";
  child.stderr.on("data", (text) => (errors += String(text)));
  const ready = await new Promise<Record<string, string>>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`scripts/local.sh ended with ${code}: ${errors}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (!line.startsWith("{")) return;
      const event = JSON.parse(line) as Record<string, string>;
      if (event["event"] === "ready") resolve(event);
    });
  });
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await gone;
  };
  running.add(child);
  return {
    url: String(ready["websocket"]),
    async admin(method, path, body) {
      const answer = await fetch(`${String(ready["admin"]).replace(/\/$/, "")}${path}`, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
      return answer.json().catch(() => undefined);
    },
    kill: () => end("SIGKILL"),
    stop: () => end("SIGINT"),
  };
}

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) if (child.exitCode === null) child.kill("SIGKILL");
});

/** Waits until a condition holds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(20);
  }
}

/** Makes a key of an issuer. Returns the flags of a gateway that trusts it, and a function that issues tokens. */
export function issuer(folder: string): { flags: string[]; token: (user: string, ...more: string[]) => string } {
  const tool = `${process.env["CARGO_TARGET_DIR"] ?? `${repository}/target`}/debug/roomchat`;
  execFileSync(tool, ["token", "--new-key", folder]);
  const jwks = JSON.stringify(JSON.parse(readFileSync(join(folder, "jwks.json"), "utf8")) as unknown);
  return {
    flags: ["--var", `auth={issuer="roomchat",audience=["roomchat"],jwks=${JSON.stringify(jwks)}}`],
    token: (user, ...more) =>
      execFileSync(tool, ["token", "--key-file", join(folder, "key.pem"), "--user", user, ...more], { encoding: "utf8" }).trim(),
  };
}
