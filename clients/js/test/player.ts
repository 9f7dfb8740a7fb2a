/** Plays scenarios: clients/scenarios/README.md describes the format. */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { Core, type Input, type Output } from "../src/core.js";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Fields = { [key: string]: Json };

export const repository = join(import.meta.dirname, "../../../..");
export const folder = join(repository, "clients/scenarios");

/** The events that clients show in different ways. */
const FREE = ["connected", "disconnected", "joined", "left", "ack", "history", "removed", "filled", "denied"];

/** Returns the scenarios by name. */
export function scenarios(): Map<string, string> {
  const files = readdirSync(folder).filter((file) => file.endsWith(".jsonl"));
  return new Map(files.map((file) => [file.slice(0, -6), readFileSync(join(folder, file), "utf8")]));
}

interface Expected {
  readonly line: number;
  readonly from: number;
  readonly to: number;
  readonly output: Json;
}

let made = 0;

/** Returns ids that are never the same. */
export function unique(): string {
  made += 1;
  return `id-${made}`;
}

/** Returns what a scenario says of an output. */
export function described(output: Output): Fields {
  switch (output.type) {
    case "connect":
      return { connect: output._link, room: output.room };
    case "send":
      return { send: output._link, frame: JSON.parse(output._text) as Json };
    case "close":
      return { close: output._link };
    case "show":
      return { show: JSON.parse(JSON.stringify(output.event)) as Json };
  }
}

/** Returns whether a value has everything that a pattern names. Names without a value get one. */
function matches(pattern: Json, seen: Json | undefined, names: Map<string, Json>): boolean {
  if (typeof pattern === "string" && pattern.startsWith("$")) {
    if (names.has(pattern)) return names.get(pattern) === seen;
    if (seen === undefined || seen === null || [...names.values()].includes(seen)) return false;
    names.set(pattern, seen);
    return true;
  }
  if (pattern === null) return seen === null || seen === undefined;
  if (typeof pattern !== "object") return pattern === seen;
  if (typeof seen !== "object" || seen === null) return false;
  if (Array.isArray(pattern)) return JSON.stringify(pattern) === JSON.stringify(seen);
  const fields = seen as Fields;
  return Object.entries(pattern).every(([key, value]) => matches(value, fields[key], names));
}

/** Plays a scenario against the core. Returns where the client leaves it, or `undefined` if it keeps it. */
export function play(text: string, makeCore: (user: string) => Core = core): string | undefined {
  try {
    new Player(text, makeCore).run();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

export function core(user: string, settings: { maxLife?: number; chance?: () => number; _live?: boolean } = {}): Core {
  return new Core({
    user,
    _heartbeat: 300_000,
    _maxLife: 6_900_000,
    _ackTimeout: 10_000,
    _chance: Math.random,
    _unique: unique,
    ...settings,
  });
}

/** The lines of a scenario, and how far a client has kept them. */
export class Script {
  readonly about: Fields;
  readonly inputs: [number, Fields][] = [];
  readonly end: number;
  now = 0;
  #names = new Map<string, Json>();
  #expected: Expected[] = [];
  #allowed: Json[] = [];

  constructor(text: string) {
    const lines = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Fields);
    this.about = lines[0] ?? {};
    let end = 0;
    lines.forEach((line, index) => {
      if (index === 0) return;
      const at = (line["at"] ?? 0) as number | [number, number];
      const [from, to] = typeof at === "number" ? [at, at] : at;
      end = Math.max(end, to);
      if (line["out"]) this.#expected.push({ line: index + 1, from, to, output: line["out"] });
      else if (line["may"]) this.#allowed.push(line["may"]);
      else if (line["in"]) this.inputs.push([from, line["in"] as Fields]);
      else if (line["end"] !== true) throw new Error(`line ${index + 1} cannot be read`);
    });
    this.end = end;
  }

  /** Takes an output of the client. */
  output(seen: Fields): void {
    for (const [index, expected] of this.#expected.entries()) {
      if (this.now < expected.from || this.now > expected.to) continue;
      const names = new Map(this.#names);
      if (!matches(expected.output, seen, names)) continue;
      this.#names = names;
      this.#expected.splice(index, 1);
      return;
    }
    const shown = seen["show"] as Fields | undefined;
    if (shown && FREE.includes(String(shown["type"]))) return;
    if (this.#allowed.some((allowed) => matches(allowed, seen, new Map(this.#names)))) return;
    throw new Error(`at ${this.now}: not expected: ${JSON.stringify(seen)}`);
  }

  /** Notes that it is `until` now: everything that was expected before must have come. */
  reached(until: number): void {
    this.now = until;
    const missed = this.#expected.find(({ to }) => to < until);
    if (missed) throw new Error(`line ${missed.line}: missing: ${JSON.stringify(missed.output)}`);
  }

  /** Notes that the scenario is over. */
  over(): void {
    this.reached(Infinity);
  }

  /** Replaces names by their values. */
  filled(value: Json): Json {
    if (typeof value === "string" && value.startsWith("$")) {
      const known = this.#names.get(value);
      if (known === undefined) throw new Error(`${value} has no value yet`);
      return known;
    }
    if (Array.isArray(value)) return value.map((item) => this.filled(item));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.filled(item)]));
  }
}

/** Plays a scenario against the state machine alone. */
class Player {
  #core: Core;
  #script: Script;

  constructor(text: string, makeCore: (user: string) => Core) {
    this.#script = new Script(text);
    this.#core = makeCore(String(this.#script.about["user"]));
  }

  run(): void {
    const { about, inputs, end } = this.#script;
    const history = about["history"] as number;
    for (const room of about["rooms"] as string[]) this.#input({ type: "join", room, history });
    for (const [at, input] of inputs) {
      this.#advance(at);
      this.#input(this.#read(input, history));
    }
    this.#advance(end);
    this.#script.over();
  }

  #input(input: Input): void {
    for (const output of this.#core._handle(this.#script.now, input)) {
      // Events for other modules: nothing of them is shown by itself.
      if (output.type === "show" && ["presence", "answer"].includes(output.event.type)) continue;
      this.#script.output(described(output));
    }
  }

  /** Lets the time pass up to `until`. */
  #advance(until: number): void {
    while (this.#core._deadline() <= until) {
      this.#script.now = Math.max(this.#script.now, this.#core._deadline());
      this.#input({ type: "tick" });
    }
    this.#script.reached(until);
  }

  #read(input: Fields, history: number): Input {
    const link = (name: string) => this.#script.filled(input[name] ?? null) as number;
    if (input["opened"]) return { type: "opened", _link: link("opened") };
    if (input["closed"]) return { type: "closed", _link: link("closed"), reason: "cut" };
    if (input["frame"]) {
      const text = this.#script.filled(input["text"] ?? null);
      return { type: "frame", _link: link("frame"), _text: typeof text === "string" ? text : JSON.stringify(text) };
    }
    const command = input["command"] as Fields;
    const room = String(command["room"]);
    const id = (command["id"] as string | undefined) ?? unique();
    switch (command["action"]) {
      case "publish":
        return { type: "publish", room, id, json: JSON.stringify(command["data"]) };
      case "join":
        return { type: "join", room, history };
      case "leave":
        return { type: "leave", room };
      default:
        throw new Error(`cannot play ${JSON.stringify(input)}`);
    }
  }
}
