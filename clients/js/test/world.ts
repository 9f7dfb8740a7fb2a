/**
 * A model of the service and of a bad network, which delays, loses, doubles and reorders frames: the twin of
 * `clients/terminal/tests/it/model.rs`. It records what happens as a scenario, which the Rust client then plays.
 */

import assert from "node:assert/strict";

import { Core, type Input } from "../src/core.js";
import type { Event } from "../src/wire.js";
import { described, type Fields, type Json } from "./player.js";

const USER = "alice";
const ROOMS = ["garden", "lobby"] as const;
type RoomName = (typeof ROOMS)[number];

/** The number of messages in a page: small, so that answers have several pages. */
const PAGE = 4;

/** The fate of a frame that the client sent. */
type Fate = "arrives" | "unanswered" | "lost" | "gatewayAfter" | "gatewayBefore" | "throttled" | "refused" | "outside";

/** A step of a schedule. */
export type Step =
  | { say: RoomName }
  | { anotherSays: RoomName; kind: boolean }
  | { dial: boolean; tokenLife: number | null }
  | { cut: number }
  | { index: true }
  | { wake: true }
  | { wait: number }
  | { carry: number; fate: Fate }
  | { bring: number; lost: boolean; doubled: boolean }
  | { trim: RoomName; keep: number }
  | { renew: RoomName }
  | { leave: true }
  | { enter: true };

/** A schedule: random steps, and the part of each random wait that is taken. */
export interface Schedule {
  readonly chance: number;
  readonly maxLife: number;
  readonly steps: readonly Step[];
}

/** Returns the schedule of a seed. */
export function schedule(seed: number): Schedule {
  let state = seed * 2_654_435_761;
  // Mulberry32.
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (n: number) => Math.floor(random() * n);
  const maybe = (part: number) => random() < part;
  const room = () => ROOMS[below(2)] as RoomName;
  const fates: [number, Fate][] = [
    [12, "arrives"],
    [2, "unanswered"],
    [2, "lost"],
    [1, "gatewayAfter"],
    [1, "gatewayBefore"],
    [1, "throttled"],
    [0.3, "refused"],
    [0.3, "outside"],
  ];
  const kinds: [number, () => Step][] = [
    [8, () => ({ say: room() })],
    [12, () => ({ anotherSays: room(), kind: maybe(0.1) })],
    [6, () => ({ dial: maybe(0.8), tokenLife: maybe(0.2) ? 10_000 * (1 + below(60)) : null })],
    [1, () => ({ cut: below(3) })],
    [4, () => ({ index: true })],
    [4, () => ({ wake: true })],
    [4, () => ({ wait: 1 + below(20_000) })],
    [24, () => ({ carry: below(6), fate: pick(fates) })],
    [24, () => ({ bring: below(6), lost: maybe(0.15), doubled: maybe(0.15) })],
    [1, () => ({ trim: room(), keep: below(4) })],
    [1, () => ({ renew: room() })],
    [1, () => ({ leave: true })],
    [1.5, () => ({ enter: true })],
  ];
  function pick<T>(weighted: readonly [number, T][]): T {
    let rest = random() * weighted.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, item] of weighted) if ((rest -= weight) < 0) return item;
    return (weighted[0] as [number, T])[1];
  }
  const steps = Array.from({ length: below(250) }, () => pick(kinds)());
  return { chance: [0, 0.25, 0.5, 0.75, 1][below(5)] ?? 0, maxLife: maybe(0.5) ? 1_000_000 : 6_900_000, steps };
}

interface Stored {
  readonly user: string;
  readonly id: string | null;
  readonly data: string;
  readonly kind: string | undefined;
}

/** The log of a room, with all its epochs. */
class WorldLog {
  epoch = 0;
  first = 1;
  /** The entries of every epoch, trimmed ones included. */
  readonly epochs: Stored[][] = [[]];

  get name(): string {
    return `e${this.epoch}`;
  }

  get entries(): Stored[] {
    return this.epochs[this.epoch] as Stored[];
  }

  get head(): number {
    return this.entries.length;
  }

  frame(room: string, seq: number): Fields {
    const { id, user, data, kind } = this.entries[seq - 1] as Stored;
    const extra: Fields = kind === undefined ? {} : { kind };
    return { type: "message", room, epoch: this.name, seq, id, from: user, data, at: 1, ...extra };
  }

  frames(room: string, from: number, to: number): Fields[] {
    const frames = [];
    for (let seq = from; seq <= to; seq += 1) frames.push(this.frame(room, seq));
    return frames;
  }
}

export class World {
  readonly core: Core;
  readonly lines: string[] = [];
  now = 0;
  #logs = new Map<string, WorldLog>(ROOMS.map((room) => [room, new WorldLog()]));
  /** The rooms of each open connection, and whether the index shows the membership. */
  #links = new Map<number, Map<string, boolean>>();
  #dialling: [number, string][] = [];
  #toService: [number, Fields][] = [];
  #toClient: [number, Fields][] = [];
  /** The last message that the user saw of each room. */
  #seen = new Map<string, [string, number]>();
  #said = new Map<string, string>();
  #settled = new Set<string>();
  /**
   * Messages that were under way when their room began a new epoch or was left: `after` names no epoch, so the service
   * may search for an earlier copy in the wrong place.
   */
  #excused = new Set<string>();
  /** The rooms that the user is in. */
  #inside = new Set<string>(ROOMS);
  #ids = 0;
  #others = 0;

  constructor({ chance, maxLife }: Schedule) {
    this.core = new Core({
      user: USER,
      _heartbeat: 300_000,
      _maxLife: maxLife,
      _ackTimeout: 10_000,
      _chance: () => chance,
      _unique: () => `$g${(this.#ids += 1)}`,
    });
    this.#record({ scenario: "A random schedule.", rooms: [...ROOMS], user: USER, history: 3, chance, maxLife });
    for (const room of ROOMS) this.#input({ type: "join", room, history: 3 });
  }

  play(step: Step): void {
    if ("say" in step) this.#say(step.say);
    else if ("anotherSays" in step) this.#anotherSays(step.anotherSays, step.kind);
    else if ("dial" in step) this.#dial(step.dial, step.tokenLife);
    else if ("cut" in step) this.#cut(step.cut);
    else if ("index" in step) this.#index();
    else if ("wake" in step) this.#wake();
    else if ("wait" in step) this.#wait(step.wait);
    else if ("carry" in step) this.#carry(step.carry, step.fate);
    else if ("bring" in step) this.#bring(step.bring, step.lost, step.doubled);
    else if ("trim" in step) this.#trim(step.trim, step.keep);
    else if ("renew" in step) this.#renew(step.renew);
    else if ("leave" in step) this.#leave();
    else this.#enter();
  }

  #record(line: Fields): void {
    this.lines.push(JSON.stringify(line));
  }

  /** Gives the client an input, which a scenario describes with `text`. */
  #input(input: Input, text?: Fields): void {
    if (text) this.#record({ at: this.now, in: text });
    for (const output of this.core._handle(this.now, input)) {
      const seen = described(output);
      const link = output.type === "show" ? "" : `$l${output._link}`;
      switch (output.type) {
        case "connect":
          this.#dialling.push([output._link, output.room]);
          this.#record({ at: this.now, out: { connect: link, room: output.room } });
          break;
        case "send": {
          const frame = seen["frame"] as Fields;
          this.#excuse(frame);
          this.#toService.push([output._link, frame]);
          this.#record({ at: this.now, out: { send: link, frame } });
          break;
        }
        case "close":
          this.#vanish(output._link);
          this.#record({ at: this.now, out: { close: link } });
          break;
        case "show":
          this.#check(output.event);
      }
    }
  }

  #excuse(frame: Fields): void {
    const room = String(frame["room"]);
    const known = this.#seen.get(room);
    if (frame["action"] === "publish" && known && known[0] !== this.#log(room).name) {
      this.#excused.add(String(frame["id"]));
    }
  }

  #log(room: string): WorldLog {
    return this.#logs.get(room) as WorldLog;
  }

  #wake(): void {
    if (this.core._deadline() === Infinity) return;
    this.now = Math.max(this.now, this.core._deadline());
    this.#input({ type: "tick" });
  }

  #wait(ms: number): void {
    const until = this.now + ms;
    while (this.core._deadline() <= until) this.#wake();
    this.now = until;
  }

  #say(room: string): void {
    if (!this.#inside.has(room)) return;
    const id = `m${this.#said.size}`;
    this.#said.set(id, room);
    const command = { action: "publish", room, id, data: id };
    this.#input({ type: "publish", room, id, json: JSON.stringify(id) }, { command });
  }

  #anotherSays(room: string, kind: boolean): void {
    this.#others += 1;
    const seq = this.#append(room, { user: "bob", id: null, data: `o${this.#others}`, kind: kind ? "wave" : undefined });
    this.#fanOut(room, seq, undefined);
  }

  #leave(): void {
    if (!this.#inside.delete("garden")) return;
    // It is forgotten by the client, so the next messages begin anew.
    this.#input({ type: "leave", room: "garden" }, { command: { action: "leave", room: "garden" } });
  }

  #enter(): void {
    if (this.#inside.has("garden")) return;
    this.#inside.add("garden");
    if (!this.core.rooms.has("garden")) this.#seen.delete("garden");
    this.#input({ type: "join", room: "garden", history: 3 }, { command: { action: "join", room: "garden" } });
  }

  #dial(works: boolean, tokenLife: number | null): void {
    const [next] = this.#dialling.splice(0, 1);
    if (!next) return;
    const [link, room] = next;
    if (!works) return this.#close(link);
    this.#links.set(link, new Map([[room, false]]));
    const life: Fields = tokenLife === null ? {} : { tokenLife };
    this.#input({ type: "opened", _link: link, _tokenLife: tokenLife ?? undefined }, { opened: `$l${link}`, ...life });
  }

  #cut(which: number): void {
    const links = [...this.#links.keys()];
    const link = links[which % links.length];
    if (link === undefined) return;
    this.#vanish(link);
    this.#close(link);
  }

  #close(link: number): void {
    this.#input({ type: "closed", _link: link, reason: "cut" }, { closed: `$l${link}` });
  }

  #vanish(link: number): void {
    this.#links.delete(link);
    this.#dialling = this.#dialling.filter(([dialling]) => dialling !== link);
    this.#toClient = this.#toClient.filter(([to]) => to !== link);
    // Frames that the client has sent may still be processed.
  }

  /** Lets the index catch up with the table. */
  #index(): void {
    for (const rooms of this.#links.values()) for (const room of rooms.keys()) rooms.set(room, true);
  }

  #trim(room: string, keep: number): void {
    const log = this.#log(room);
    log.first = Math.max(log.first, log.head + 1 - keep);
  }

  #renew(room: string): void {
    const log = this.#log(room);
    log.epoch += 1;
    log.first = 1;
    log.epochs.push([]);
    for (const [id, at] of this.#said) if (at === room && !this.#settled.has(id)) this.#excused.add(id);
    for (const [, frame] of this.#toService) this.#excused.add(String(frame["id"]));
  }

  #bring(which: number, lost: boolean, doubled: boolean): void {
    const at = which % this.#toClient.length;
    const item = this.#toClient[at];
    if (!item) return;
    if (!doubled) this.#toClient.splice(at, 1);
    if (lost) return;
    const [link, frame] = item;
    this.#input({ type: "frame", _link: link, _text: JSON.stringify(frame) }, { frame: `$l${link}`, text: frame });
  }

  #carry(which: number, fate: Fate): void {
    const [item] = this.#toService.splice(which % (this.#toService.length || 1), 1);
    if (!item) return;
    const [link, frame] = item;
    const error = (name: string, temporary: boolean, more: Fields = {}) => ({
      type: "error",
      id: frame["id"] ?? null,
      name,
      message: "…",
      temporary,
      ...more,
    });
    const gateway = { message: "Internal server error", connectionId: "x", requestId: "x" };
    const named = typeof frame["id"] === "string";
    let answer: Fields | undefined;
    if (fate === "gatewayBefore") answer = gateway;
    else if (fate === "throttled" && named) answer = error("slow_down", true, { retryAfterMs: 1000 });
    else if (fate === "refused" && frame["action"] === "publish") {
      const id = String(frame["id"]);
      const stored = this.#logs.get(String(frame["room"]))?.epochs.some((log) => log.some((entry) => entry.id === id));
      // The service does not refuse what it has stored.
      answer = stored ? this.#process(link, frame) : error("forbidden", false);
      if (!stored) this.#excused.add(id);
    } else if (fate === "outside" && frame["action"] !== "ping" && frame["action"] !== "leave") {
      this.#links.get(link)?.delete(String(frame["room"]));
      answer = error("not_a_member", false);
    } else if (fate !== "lost") {
      answer = this.#process(link, frame);
      if (fate === "unanswered") answer = undefined;
      if (fate === "gatewayAfter") answer = gateway;
    }
    if (answer && this.#links.has(link)) this.#toClient.push([link, answer]);
  }

  #process(link: number, frame: Fields): Fields {
    const id = frame["id"] ?? null;
    const room = String(frame["room"]);
    const rooms = this.#links.get(link);
    if (frame["action"] === "ping") return { type: "pong" };
    if (frame["action"] === "join") {
      if (rooms && !rooms.has(room)) rooms.set(room, false);
      return this.#joined(frame, room);
    }
    if (frame["action"] === "leave") {
      rooms?.delete(room);
      return { type: "left", id, room };
    }
    if (!rooms?.has(room)) return { type: "error", id, name: "not_a_member", message: "…", temporary: false };
    if (frame["action"] === "publish") return this.#publish(link, frame, room);
    const log = this.#log(room);
    const after = frame["after"] as number;
    const from = Math.max(log.first, after + 1);
    const messages = log.frames(room, from, Math.min(log.head, from + PAGE - 1));
    const more = from + messages.length <= log.head;
    return { type: "history", id, room, epoch: log.name, first: log.first, head: log.head, more, messages };
  }

  #joined(frame: Fields, room: string): Fields {
    const log = this.#log(room);
    const since = frame["since"] as { epoch: string; seq: number } | undefined;
    let recovered: boolean | null = null;
    let messages: Fields[];
    if (since) {
      recovered = since.epoch === log.name && since.seq + 1 >= log.first;
      messages = recovered ? log.frames(room, since.seq + 1, Math.min(log.head, since.seq + PAGE)) : [];
    } else {
      const last = (frame["history"] as number | undefined) ?? 0;
      messages = log.frames(room, Math.max(log.first, log.head + 1 - last), log.head);
    }
    const last = messages.at(-1)?.["seq"] as number | undefined;
    const more = recovered === true && last !== undefined && last < log.head;
    const { name: epoch, first, head } = log;
    return { type: "joined", id: frame["id"] ?? null, room, user: USER, epoch, first, head, recovered, more, messages };
  }

  #publish(link: number, frame: Fields, room: string): Fields {
    const log = this.#log(room);
    const after = frame["after"] as number;
    const id = String(frame["id"]);
    // Like the service, it searches for an earlier copy only after `after`.
    const copy = log.entries.findIndex((stored, index) => index >= after && stored.id === id);
    const seq = copy < 0 ? this.#append(room, { user: USER, id, data: String(frame["data"]), kind: undefined }) : copy + 1;
    this.#fanOut(room, seq, link);
    const counts = { delivered: 0, gone: 0, failed: 0 };
    return { type: "ack", id, room, epoch: log.name, seq, at: 1, duplicate: copy >= 0, ...counts };
  }

  #append(room: string, stored: Stored): number {
    return this.#log(room).entries.push(stored);
  }

  #fanOut(room: string, seq: number, sender: number | undefined): void {
    const frame = this.#log(room).frame(room, seq);
    for (const [link, rooms] of this.#links) {
      if (link !== sender && rooms.get(room)) this.#toClient.push([link, frame]);
    }
  }

  /** Delivers every frame and every answer to it. */
  #flush(): void {
    for (let rounds = 0; this.#dialling.length + this.#toService.length + this.#toClient.length > 0; rounds += 1) {
      assert.ok(rounds < 10_000, "the client asks without end");
      this.#dial(true, null);
      this.#index();
      this.#carry(0, "arrives");
      this.#bring(0, false, false);
    }
  }

  /** Lets everything work from now on. The client must then show everything that the log holds. */
  heal(): void {
    const until = this.now + 1_500_000;
    this.#flush();
    while (this.now < until) {
      this.#wake();
      this.#flush();
    }
    this.#record({ at: this.now, end: true });
    this.#checkEnd();
  }

  /** Checks that the client shows the log, in order, and reports each hole. */
  #check(event: Event): void {
    switch (event.type) {
      case "message": {
        const { room, epoch, seq, from, data } = event;
        const stored = this.#log(room).epochs[Number(epoch.slice(1))]?.[seq - 1];
        assert.deepEqual([from, data], [stored?.user, stored?.data], "another message");
        const last = this.#seen.get(room);
        if (last) {
          let next = last[1] + 1;
          const entries = this.#log(room).epochs[Number(last[0].slice(1))];
          while (entries?.[next - 1]?.kind !== undefined) next += 1;
          assert.deepEqual([epoch, seq], [last[0], next], `${room}: spliced, doubled or out of order`);
        }
        this.#seen.set(room, [epoch, seq]);
        this.#record({ at: this.now, out: { show: { type: "message", room, epoch, seq, from, data: data as Json } } });
        break;
      }
      case "joined": {
        // With nothing to show, the client begins at the head.
        const { room, epoch, first, head, recovered } = event;
        if (recovered === null && !this.#seen.has(room) && first > head) this.#seen.set(room, [epoch, head]);
        break;
      }
      case "lost": {
        const { room, after, resumed, missing } = event;
        const log = this.#log(room);
        assert.ok(after.epoch !== log.name || after.seq + 1 < log.first, `${room}: nothing was lost`);
        if (missing !== undefined) assert.equal(after.seq + missing, resumed.seq);
        this.#seen.set(room, [resumed.epoch, resumed.seq]);
        const show: Fields = { type: "lost", room, after: { ...after }, resumed: { ...resumed }, missing: missing ?? null };
        this.#record({ at: this.now, out: { show } });
        break;
      }
      case "ack": {
        const id = String(event.id);
        const stored = this.#log(event.room).epochs[Number(event.epoch.slice(1))]?.[event.seq - 1];
        assert.equal(stored?.id, id);
        assert.ok(!this.#settled.has(id), "acknowledged twice");
        this.#settled.add(id);
        break;
      }
      case "error": {
        const { id, room, name, retrying } = event;
        if (!retrying && id !== undefined) this.#settled.add(id);
        // A browser does not tell why a handshake fails, so this client tells after three. The terminal client knows.
        if (name === "refused") break;
        const show: Fields = { type: "error", id: id ?? null, room: room ?? null, name, retrying };
        this.#record({ at: this.now, out: { show } });
      }
    }
  }

  #checkEnd(): void {
    for (const [id, room] of this.#said) {
      assert.ok(this.#settled.has(id), `${id} was never answered`);
      const copies = this.#log(room).epochs.flat().filter((stored) => stored.id === id).length;
      assert.ok(copies === 1 || this.#excused.has(id), `${id} is in the log ${copies} times`);
    }
    for (const room of this.#inside) {
      const log = this.#log(room);
      const head = [log.name, log.head];
      const here = this.core.rooms.get(room)?.at();
      assert.deepEqual([here?.epoch, here?.seq], head, `${room} is not read to its end`);
    }
    // The current connection, and for a moment the one that it replaced.
    assert.ok(this.#links.size <= 2, "connections were left open");
  }
}

/** Plays a schedule. Returns it as a scenario, up to the error if there is one. */
export function record({ steps, ...settings }: Schedule): { scenario: string; error?: string } {
  const world = new World({ steps, ...settings });
  try {
    for (const step of steps) world.play(step);
    world.heal();
    return { scenario: world.lines.join("\n") };
  } catch (error) {
    return { scenario: world.lines.join("\n"), error: (error as Error).message };
  }
}
