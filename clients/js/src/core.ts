/**
 * The rules of the client, as a state machine: the twin of `clients/terminal/src/core`.
 *
 * `handle` takes an input and the time, and returns the outputs: frames to send, connections to open or close, events
 * to show. The machine reads no clock, owns no socket and never waits, so a test can play any schedule. Each input
 * first changes the state, then `#advance` goes through the whole state and does what is due. So no rule depends on
 * which input came first.
 */

import { Log, Outgoing, type Saved } from "./log.js";
import { Clock, Pace, Retry, fullJitter, whole } from "./retry.js";
import { MAX_FRAME, read } from "./wire.js";
import type { Ack, Change, Entry, Event, Failure, Frame, Joined, Left, Page, Position } from "./wire.js";

/** The choices of the user, and the sources of chance. Times are milliseconds. */
export interface Settings {
  /** The name of the user. The service may answer another one, which then counts. */
  user: string;
  /** The interval of heartbeats, which also look for lost messages. */
  readonly _heartbeat: number;
  /** The time after which a connection is replaced at the latest. */
  readonly _maxLife: number;
  /** The time after which a frame without an answer is sent again. */
  readonly _ackTimeout: number;
  /** Joins with presence: the others are told that the user is there, and their signals come. */
  readonly _live?: boolean | undefined;
  /** Returns a random number from 0 to 1. */
  readonly _chance: () => number;
  /** Returns an id that nobody else uses. */
  readonly _unique: () => string;
}

/** An input of the state machine. */
export type Input =
  | { readonly type: "tick" }
  | {
      readonly type: "opened";
      readonly _link: number;
      /** The time for which the token of the connection is valid from now on; absent without a token. */
      readonly _tokenLife?: number | undefined;
    }
  | { readonly type: "closed"; readonly _link: number; readonly reason: string }
  | { readonly type: "frame"; readonly _link: number; readonly _text: string }
  | {
      readonly type: "join";
      readonly room: string;
      /** The number of messages shown on entering. */
      readonly history: number;
      readonly _saved?: Saved | undefined;
    }
  | {
      readonly type: "publish";
      readonly room: string;
      readonly id: string;
      readonly json: string;
      /** The message that is changed, and how. */
      readonly change?: Change | undefined;
    }
  /** The state of the user in the room, for the others: part of each `join`. */
  | { readonly type: "state"; readonly room: string; readonly state: unknown }
  | { readonly type: "leave"; readonly room: string }
  /**
   * A question that is answered once. With a room it waits until a connection is in the room. `frame` returns the frame
   * at each try.
   */
  | { readonly type: "ask"; readonly room: string | undefined; readonly id: string; readonly frame: () => object }
  /** Sent at once, or not at all: a signal is for this moment. */
  | {
      readonly type: "signal";
      readonly room: string;
      readonly kind: string;
      readonly data?: unknown;
      readonly to?: string | undefined;
    }
  /** The network may be back, or the page is seen again: brings the next try forward, and tests what is open. */
  | { readonly type: "nudge" }
  /** The computer slept, or the page comes out of the cache: what was open is gone. */
  | { readonly type: "woke" }
  /** The page is put away: closes everything, and stays closed until `woke`. */
  | { readonly type: "suspend" };

/** An output of the state machine. */
export type Output =
  | {
      readonly type: "connect";
      readonly _link: number;
      /** The room that the handshake names; empty if it names none. */
      readonly room: string;
    }
  | { readonly type: "send"; readonly _link: number; readonly _text: string }
  | { readonly type: "close"; readonly _link: number }
  | { readonly type: "show"; readonly event: Event };

/**
 * The times after a `join` at which the log is read once more (rule 5 of PROTOCOL.md). The index of the members follows
 * within a moment, so a message of the moment of the `join` may be stored and not delivered to this connection: the
 * first question finds it. An invocation that began before the `join` can live for 28 seconds: the second finds its.
 */
const SETTLE = [3_000, 31_000];

/** The time after the answer to a `leave` within which messages of the room may still come: the index lags. */
const INDEX_LAG = 5_000;

/** The number of rooms that were left and are remembered, to leave them again if their messages still come. */
const MAX_LEFT = 100;

/** The largest number that a frame can have. */
const LARGEST = 2 ** 53;

/** The number of messages in a request that fills a gap; the largest that the service accepts. */
const FILL_PAGE = 100;

/**
 * The shortest wait for a missing message before it is asked for, and the random part that follows. The message may be on
 * its way, and otherwise all clients that miss it would ask at the same moment.
 */
const FILL_WAIT = 100;
const FILL_WITHIN = 200;

/** The number of tries after which a question of the user is given up. */
const ASK_ATTEMPTS = 5;

/** The time that a handshake may take. */
const OPEN_TIMEOUT = 15_000;

/** The time that a `pong` may take. API Gateway answers a `ping` without a function, so at once. */
const PONG_TIMEOUT = 10_000;

/** The time for which a replaced connection is kept: until the index knows the new one, and the acks have come. */
const LINGER = 5_000;

/** The part of the longest life of a connection by which it may be replaced earlier, at random. */
const EARLY = 10 / 115;

/** The part of its token's life after which a connection is replaced. */
const TOKEN_PART = 0.8;

/** The longest wait before a user says that it has not left, and the shortest time between two such frames. */
const HEAL_WITHIN = 1_000;
const HEAL_REST = 30_000;

/** The shortest time between two replacements, whatever the token says. */
const MIN_LIFE = 2_000;

/** The number of handshakes in a row that fail before the first success, after which the user is told. */
const REFUSALS = 3;

/** A `join` without an answer yet. */
interface Join {
  readonly id: string;
  /** It repeats an earlier `join`, to look for lost messages, and the user need not hear of it. */
  readonly _quiet: boolean;
  /** The position after which messages are wanted: the same at every try, so that the answer can be judged. */
  readonly since: Position | undefined;
  readonly _retry: Retry;
}

/** The state of a connection in a room. */
interface Membership {
  _joined: boolean;
  /** The room is to be joined once more: that tells the head of its log, and restores a lost membership. */
  _poll: boolean;
  join?: Join | undefined;
  /** The times after a `join` at which the log is read once more. */
  _settle: number[];
  /** The id of all signals of this connection in the room; `null` once the service wants none. */
  signals?: string | null;
}

/** A connection. */
interface Link {
  readonly id: number;
  /**
   * Frames are sent on the current one. The next one replaces it as soon as it is in every room. The client still reads
   * from a retiring one, until the index of the rooms knows its successor.
   */
  _role: "current" | "next" | "retiring";
  /** The room that the handshake joins. */
  readonly room: string;
  _open: boolean;
  _openBy: number;
  /** When another connection is to replace it, once it is open. */
  _renewAt: number;
  _heartbeatAt: number;
  /** When some frame must have come, after a `ping`. */
  _pongBy: number;
  _closeAt: number;
  readonly rooms: Map<string, Membership>;
  /** The pace of its `join` frames, and of its `history` frames. */
  readonly _paces: { readonly [kind: string]: Pace };
}

/** A question of the user that is not answered yet. */
interface Asked {
  readonly id: string;
  readonly room: string | undefined;
  readonly frame: () => object;
  readonly _retry: Retry;
}

/** A room that was left, on connections whose `leave` is not answered yet. */
interface Leaving {
  readonly id: string;
  readonly room: string;
  /** The user has left it; otherwise the client leaves it again by itself. */
  readonly _told: boolean;
  readonly _pending: Map<number, Retry>;
}

/** A frame that is sent until it is answered: its id, its timer, its kind and its room. */
type Open = readonly [string, Retry, "message" | "fill" | "join" | "asked" | "leave" | "signal", string | undefined];

/** The state machine. */
export class Core {
  readonly #settings: Settings;
  readonly #rooms = new Map<string, Log>();
  #links: Link[] = [];
  #linksMade = 0;
  /** When to open a connection: the first one, one after a loss, or one that replaces the current one. */
  #dialAt = Infinity;
  /** The number of connections in a row that never got into a room. */
  #failures = 0;
  #everOpen = false;
  #suspended = false;
  /** The service wants no connection before this time. */
  #notBefore = 0;
  #asked: Asked[] = [];
  #leaving: Leaving[] = [];
  /** The rooms that were left, and when the service answered so. */
  readonly #leftAt = new Map<string, number>();
  #next = Infinity;
  #out: Output[] = [];

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Takes an input that happened at `now`, which must never decrease, and returns what to do, in order. */
  _handle(now: number, input: Input): Output[] {
    const room = "room" in input && this.#rooms.get(input.room ?? "");
    const { _link: id } = input as { readonly _link?: number };
    const link = this.#links.find((link) => link.id === id);
    switch (input.type) {
      case "opened":
        if (link) this.#opened(now, link, input._tokenLife);
        break;
      case "closed":
        if (link) this.#closed(now, link, input.reason);
        break;
      case "frame":
        if (link) this.#received(now, link, input._text);
        break;
      case "join":
        this.#enter(now, input.room, input.history, input._saved);
        break;
      case "publish":
        this.#publish(input.room, new Outgoing(input.id, input.json, input.change));
        break;
      case "leave":
        if (room) room._leaving = true;
        break;
      case "state":
        if (room) room.state = input.state;
        break;
      case "ask":
        this.#asked.push({ ...input, _retry: new Retry() });
        break;
      case "signal":
        this.#signal(input);
        break;
      case "nudge":
        this.#nudge(now);
        break;
      case "woke":
        this.#dropAll(now, "slept");
        this.#suspended = false;
        if (this.#rooms.size) this.#dialAt = now;
        break;
      case "suspend":
        this.#dropAll(now, "page put away");
        this.#suspended = true;
        this.#dialAt = Infinity;
        break;
    }
    const clock = new Clock(now, this.#settings._ackTimeout);
    this.#advance(clock);
    this.#next = clock._next;
    const out = this.#out;
    this.#out = [];
    return out;
  }

  /** Returns the time at which the next `tick` is due; `Infinity` if nothing waits for a time. */
  _deadline(): number {
    return this.#next;
  }

  /** Returns the name of the user, as far as it is known. */
  get user(): string {
    return this.#settings.user;
  }

  /** Returns the rooms of the user, those that are being left included. */
  get rooms(): ReadonlyMap<string, Log> {
    return this.#rooms;
  }

  /** Returns whether a connection is open. */
  get online(): boolean {
    return this.#usable() !== undefined;
  }

  /** Returns whether everything of a room that is known to exist was shown, on a connection that is in the room. */
  _isLive(name: string): boolean {
    const room = this.#rooms.get(name);
    const link = this.#usable();
    return !!room?.at() && !room._behind() && !!link && inRoom(link, name);
  }

  // Answers.

  #received(now: number, link: Link, text: string): void {
    // Any frame shows that the connection works.
    link._pongBy = Infinity;
    let frame: Frame;
    try {
      frame = read(text);
    } catch {
      // Its content must not be in a log.
      this.#complain("unreadable", "A frame cannot be read.");
      return;
    }
    if (frame.type !== "error" && "id" in frame && this.#asked.some(({ id }) => id === frame.id)) {
      this.#asked = this.#asked.filter(({ id }) => id !== frame.id);
      this.#show({ type: "answer", id: String(frame.id), frame });
      return;
    }
    switch (frame.type) {
      case "messages":
        for (const entry of frame.messages) this.#message(now, { ...entry, room: frame.room });
        break;
      case "message":
        this.#message(now, frame);
        break;
      case "ack":
        if ("seq" in frame) this.#acked(frame);
        break;
      case "joined":
        this.#joined(now, link, frame);
        break;
      case "left":
        this.#left(link.id, frame);
        break;
      case "history":
        this.#page(frame);
        break;
      case "signal":
        this.#show(frame);
        break;
      case "presence": {
        const room = this.#rooms.get(frame.room);
        if (room && frame.event === "leave" && frame.user === this.user) {
          room._healAt = Math.max(now, room._healed) + HEAL_WITHIN * this.#settings._chance();
        }
        this.#show(frame);
        break;
      }
      case "error":
        this.#failed(now, link, frame);
        break;
      case "removed":
        this.#deny(now, frame.room, frame.reason, `Removed by ${frame.by}.`);
        break;
      case "bye":
        if (frame.reconnect === "never") this.#show(frame);
        else this.#notBefore = now + (frame.retryAfterMs ?? 0);
        break;
      case "gateway":
        this.#gatewayFailed(now, link.id, frame._words);
    }
  }

  #message(now: number, { room, ...entry }: Entry & { readonly room: string }): void {
    if (this.#rooms.has(room)) this.#take(room, [entry]);
    // Pair rooms need no join.
    else if (room?.startsWith("@")) this.#show({ type: "direct", room });
    else this.#stayOut(now, room);
  }

  #take(name: string, entries: readonly Entry[]): void {
    const room = this.#rooms.get(name);
    if (!room) return;
    const shown: Event[] = [];
    let otherEpoch = false;
    for (const entry of entries) {
      if (!room._take(entry, shown)) otherEpoch = true;
    }
    for (const event of shown) this.#show(event);
    if (otherEpoch) this.#verify(name);
  }

  /** Leaves a room again whose messages still come long after its `left`: an earlier `join` was taken up after it. */
  #stayOut(now: number, room: string): void {
    if ((this.#leftAt.get(room) ?? now) + INDEX_LAG <= now) this.#leaveLater(room, false);
  }

  #acked(ack: Ack): void {
    const room = this.#rooms.get(ack.room);
    if (!room) return;
    const message = room.outbox[0];
    if (!message || message.id !== ack.id) {
      // The message was acknowledged before. The `ack` still tells how far the log goes.
      room._reaches(ack.epoch, ack.seq);
      return;
    }
    room.outbox.shift();
    room._dirty = true;
    this.#show({ ...ack, type: "ack" });
    // The service sends the sender no copy: the message is shown here, at its place in the log.
    const { epoch, seq, n, at } = ack;
    const { id, json, change } = message;
    this.#take(ack.room, [{ epoch, seq, n, id, from: this.user, data: "data" in ack ? ack.data : (JSON.parse(json) as unknown), at, ...(change as object) }]);
  }

  #joined(now: number, link: Link, joined: Joined): void {
    const name = joined.room;
    const room = this.#rooms.get(name);
    if (!room) {
      // The user has left the room since the `join`, and the service may have taken up the two in reverse order.
      this.#leaveLater(name, false);
      return;
    }
    this.#settings.user = joined.user ?? this.user;
    const known = membership(link, name);
    known._joined = true;
    room._entered = true;
    // All tries of a `join` have the same id. The answer to an earlier `join` only brings its messages.
    const answered = known.join?.id === joined.id ? known.join : undefined;
    if (answered) known.join = undefined;
    const recovered = joined.recovered ?? null;
    const events: Event[] = [];
    if (answered && !answered._quiet) {
      known._settle = SETTLE.map((wait) => now + wait);
      events.push({ ...joined, type: "joined", recovered });
    }
    let lost = false;
    const here = room.at();
    if (!here) {
      // With `recovered`, the `join` was sent before the position was lost. Another one asks for a new beginning.
      if (recovered === null && answered) {
        const seq = (joined.messages[0]?.seq ?? joined.head + 1) - 1;
        room._start({ epoch: joined.epoch, seq }, events);
      }
    } else if (recovered === false) {
      if (answered?.since && same(answered.since, here)) lost = true;
      // The position has moved since the `join`, so the new one may not be lost.
      else if (answered) known._poll = true;
    } else if (here.epoch !== joined.epoch) {
      known._poll = !!answered;
    }
    room._reaches(joined.epoch, joined.head);
    if (lost) this.#lose(name);
    if (answered && !answered._quiet) this.#failures = 0;
    for (const event of events) this.#show(event);
    // Without a position, `start` did not accept them as a beginning.
    if (room.at()) {
      this.#take(
        name,
        joined.messages.filter((entry) => entry.epoch === joined.epoch),
      );
      if (joined.more && room._behind()) room._cutShort = true;
    }
  }

  /** Notes that the position of a room is lost. */
  #lose(name: string): void {
    this.#rooms.get(name)?._lose();
    // Any answer to the joins under way is older than the loss.
    for (const link of this.#links) {
      const known = link.rooms.get(name);
      if (known) known.join = undefined;
    }
  }

  #page(page: Page): void {
    const room = this.#rooms.get(page.room);
    const here = room?.at();
    if (!room || !here) return;
    const epoch = page.epoch ?? "";
    const empty = epoch === "" && here.seq === 0 && !room._behind();
    if (!empty && (here.epoch !== epoch || here.seq + 1 < page.first)) {
      // Another epoch, or the missing messages are trimmed. The answer to a `join` tells which.
      room._check = false;
      room._rest();
      this.#verify(page.room);
      return;
    }
    room._reaches(epoch, page.head);
    if (room._fill && room._fill.id === page.id) room._check = false;
    room._rest();
    const missed = page.messages.filter((entry) => entry.seq > here.seq).length;
    if (missed > 0) {
      // The rest did not fit this page, so the next page is read at once.
      room._fill = undefined;
      room._cutShort = true;
      this.#show({ type: "filled", room: page.room, count: missed });
      this.#take(page.room, page.messages);
    }
  }

  #left(link: number, left: Left): void {
    for (const leaving of this.#leaving) {
      if (leaving.room === left.room && left.id === leaving.id) leaving._pending.delete(link);
    }
  }

  // Failures.

  /**
   * API Gateway's own frames carry no id, so any frame that was sent on this connection and is not answered may have
   * failed. All of them are sent again, which does no harm to those that did not fail.
   */
  #gatewayFailed(now: number, link: number, words: unknown): void {
    const chance = this.#settings._chance();
    for (const [, retry] of this.#open()) retry._perhapsFailed(now, chance, link);
    const message = `API Gateway: ${String(words)}`;
    this.#show({ type: "error", name: "internal", message, retrying: true });
  }

  #failed(now: number, link: Link, failure: Failure): void {
    const name = failure.name ?? "";
    const message = failure.message ?? "";
    const { id } = failure;
    if (name === "token_expired") {
      // The connection ends with its token. The next one is opened with a fresh token.
      this.#giveUpLink(now, link, "token expired");
      return;
    }
    if (id === undefined) {
      this.#complain(name, message);
      return;
    }
    const open = this.#open();
    const subject = open.find(([sent]) => sent === id);
    // Another try of the same frame was answered already.
    if (!subject) return;
    const [, , kind, room = ""] = subject;
    const known = link.rooms.get(room);
    if (kind === "signal") {
      // The room is too large for signals, or the user may not send them.
      if (!failure.temporary && known) known.signals = null;
      return;
    }
    // Until then the service drops the frames of this action without an answer.
    if (name === "slow_down") link._paces[kind]?._pause(now + failure.retryAfterMs!);
    const outside = name === "not_a_member";
    if (outside && kind === "join") {
      // The connection is in no room at all any more, and only a handshake changes that.
      this.#giveUpLink(now, link, message);
      return;
    }
    if (outside && kind === "leave") {
      for (const leaving of this.#leaving) if (leaving.id === id) leaving._pending.delete(link.id);
      return;
    }
    // The membership was lost, for instance because it expired. The room is joined again, then the frame sent.
    if (outside && known) known._joined = false;
    // Without the right to read the log a gap stays, and the user is told so.
    const retrying = kind === "fill" ? name !== "forbidden" : failure.temporary || outside;
    if (retrying) {
      const chance = this.#settings._chance();
      for (const [sent, retry] of open) {
        if (sent === id) retry._later(now, chance, failure.retryAfterMs ?? 0);
      }
    }
    // A request that the client makes by itself is of no concern to the user while it can be made again.
    if (!retrying || kind === "message" || kind === "asked") {
      const told = kind === "join" || kind === "leave" ? undefined : id;
      this.#show({ type: "error", id: told, room, name, message, retrying });
    }
    if (!retrying) this.#giveUp(now, subject, name, message);
  }

  #giveUpLink(now: number, link: Link, reason: string): void {
    this.#out.push({ type: "close", _link: link.id });
    this.#closed(now, link, reason);
  }

  #giveUp(now: number, [id, , kind, name = ""]: Open, error: string, message: string): void {
    const room = this.#rooms.get(name);
    if (kind === "message" && room) {
      room.outbox = room.outbox.filter((message) => message.id !== id);
      room._dirty = true;
    } else if (kind === "asked") {
      this.#asked = this.#asked.filter((asked) => asked.id !== id);
    } else if (kind === "leave") {
      this.#leaving = this.#leaving.filter((leaving) => leaving.id !== id);
    } else if (kind === "fill") this.#lose(name);
    else this.#deny(now, name, error, message);
  }

  /** Gives a room up that the service refuses to the user, with all that waits in it. */
  #deny(now: number, name: string, error: string, message: string): void {
    const waiting = [...(this.#rooms.get(name)?.outbox ?? []), ...this.#asked.filter(({ room }) => room === name)];
    for (const { id } of waiting) this.#unask(id, "not_a_member", "The room cannot be joined.", name);
    if (!this.#rooms.has(name)) return;
    this.#forget(name);
    this.#show({ type: "denied", room: name, name: error, message });
    if (!this.#rooms.size) this.#dropAll(now, "no room left");
  }

  /** Tells the user that a message or a question is given up. */
  #unask(id: string, name: string, message: string, room?: string): void {
    this.#asked = this.#asked.filter((asked) => asked.id !== id);
    this.#complain(name, message, room, id);
  }

  // Commands.

  #enter(now: number, name: string, history: number, saved?: Saved): void {
    this.#leftAt.delete(name);
    const room = this.#rooms.get(name);
    if (room) {
      room._leaving = false;
      return;
    }
    this.#rooms.set(name, new Log(name, history, saved));
    if (!this.#links.length && !this.#suspended && this.#dialAt === Infinity) this.#dialAt = now;
  }

  #publish(name: string, message: Outgoing): void {
    const room = this.#rooms.get(name);
    if (!room) return;
    // API Gateway would close the connection at every try.
    if (encode(publish(name, message, LARGEST)).length > MAX_FRAME) {
      this.#complain("payload_too_large", "A message must have at most 32 KB.", name, message.id);
      return;
    }
    room.outbox.push(message);
    room._dirty = true;
  }

  #signal({ type: action, room, kind, data, to }: Input & { type: "signal" }): void {
    const link = this.#usable();
    const known = link?.rooms.get(room);
    if (!link || !known?._joined || known.signals === null) return;
    const id = (known.signals ??= this.#settings._unique());
    this.#send(link.id, { action, room, kind, data, to, id });
  }

  /** Drops the state of a room. */
  #forget(name: string): void {
    this.#rooms.delete(name);
    for (const link of this.#links) link.rooms.delete(name);
  }

  /** Leaves a room on every open connection, until the service has answered on each. */
  #leaveLater(room: string, told: boolean): void {
    if (this.#leaving.some((leaving) => leaving.room === room)) return;
    const pending = new Map<number, Retry>();
    for (const link of this.#links) if (link._open) pending.set(link.id, new Retry());
    this.#leaving.push({ id: this.#settings._unique(), room, _told: told, _pending: pending });
  }

  // Connections.

  #opened(now: number, link: Link, tokenLife = Infinity): void {
    link._open = true;
    const longest = this.#settings._maxLife * (1 - EARLY * this.#settings._chance());
    link._renewAt = whole(now + Math.min(longest, Math.max(tokenLife * TOKEN_PART, MIN_LIFE)));
    link._heartbeatAt = now + this.#heartbeat();
    this.#everOpen = true;
    if (link._role === "current") {
      this.#show({ type: "connected", renewed: false });
      this.#dialAt = link._renewAt;
    }
    // The user may have left the room while the handshake, which joins it, was under way.
    if (link.room && !this.#rooms.has(link.room)) this.#leaveLater(link.room, false);
  }

  /** Returns a random time around the interval of heartbeats: clients that came together do not stay in step. */
  #heartbeat(): number {
    return whole(this.#settings._heartbeat * (0.9 + 0.2 * this.#settings._chance()));
  }

  #closed(now: number, link: Link, reason: string): void {
    this.#links = this.#links.filter((other) => other !== link);
    for (const [, retry] of this.#open()) retry._closed(now, link.id);
    // The membership ends with its connection.
    for (const leaving of this.#leaving) leaving._pending.delete(link.id);
    if (link._role === "next") {
      this.#dialLater(now);
    } else if (link._role === "current") {
      const successor = this.#links.find((link) => link._role === "next");
      if (successor) {
        successor._role = "current";
        this.#dialAt = successor._renewAt;
        this.#show({ type: "disconnected", reason });
      } else {
        const retryInMs = this.#dialLater(now);
        this.#show({ type: "disconnected", reason, retryInMs });
      }
      if (!this.#everOpen && this.#failures === REFUSALS) {
        const message = `No connection: ${reason}.`;
        this.#show({ type: "error", name: "refused", message, retrying: true });
      }
    }
  }

  #dialLater(now: number): number {
    const wait = fullJitter(this.#settings._chance(), this.#failures);
    this.#failures += 1;
    this.#dialAt = Math.max(now + wait, this.#notBefore);
    return wait;
  }

  /** Closes every connection. */
  #dropAll(now: number, reason: string): void {
    for (const link of this.#links) this.#giveUpLink(now, link, reason);
    this.#dialAt = Infinity;
    this.#failures = 0;
  }

  #nudge(now: number): void {
    if (!this.#current() && this.#dialAt < Infinity) this.#dialAt = now;
    for (const link of this.#links) if (link._open && link._role !== "retiring") this.#ping(link, now);
  }

  /** API Gateway answers a `ping` without a function, so it shows that the connection works when the service does not. */
  #ping(link: Link, now: number): void {
    link._pongBy = Math.min(link._pongBy, now + PONG_TIMEOUT);
    this.#send(link.id, { action: "ping" });
  }

  // Frames and connections that are due.

  #advance(clock: Clock): void {
    this.#linksDue(clock);
    this.#joinsDue(clock);
    this.#requestsDue(clock);
    this.#leavesDue(clock);
  }

  #linksDue(clock: Clock): void {
    this.#closeWhatIsDead(clock);
    this.#promote(clock);
    for (const link of this.#links) {
      if (!link._open || link._role === "retiring" || !clock._due(link._heartbeatAt)) continue;
      link._heartbeatAt = clock.now + this.#heartbeat();
      this.#ping(link, clock.now);
      // The joins show what a connection cannot: that the last message of a room was lost.
      for (const known of link.rooms.values()) known._poll = true;
      clock._due(link._heartbeatAt);
    }
    for (const { _pongBy: pongBy } of this.#links) clock._due(pongBy);
    if (clock._due(this.#dialAt)) {
      this.#dialAt = Infinity;
      this.#dial(clock);
    }
  }

  #dial(clock: Clock): void {
    if (!this.#rooms.size) return;
    // A handshake names no pair room. Without a room it opens a connection that is in none, or in the lobby.
    const rooms = [...this.#rooms.values()].filter(({ name }) => !name.startsWith("@"));
    const staying = rooms.filter((room) => !room._leaving);
    // Another room after each failure: the user may be banned from the last one.
    const room = (staying[this.#failures % staying.length] ?? rooms[0])?.name ?? "";
    this.#linksMade += 1;
    const id = this.#linksMade;
    this.#links.push({
      id,
      _role: this.#current() ? "next" : "current",
      _open: false,
      room,
      _openBy: clock.now + OPEN_TIMEOUT,
      _renewAt: Infinity,
      _heartbeatAt: Infinity,
      _pongBy: Infinity,
      _closeAt: Infinity,
      rooms: new Map(),
      _paces: { join: new Pace(), fill: new Pace() },
    });
    clock._due(clock.now + OPEN_TIMEOUT);
    this.#out.push({ type: "connect", _link: id, room });
  }

  #closeWhatIsDead(clock: Clock): void {
    for (const link of this.#links) {
      if (!link._open && clock._due(link._openBy)) this.#giveUpLink(clock.now, link, "no answer");
      else if (clock._due(link._pongBy)) this.#giveUpLink(clock.now, link, "silent");
      else if (clock._due(link._closeAt)) this.#giveUpLink(clock.now, link, "replaced");
    }
  }

  /** Makes the next connection the current one, once it is in every room. */
  #promote(clock: Clock): void {
    const ready = this.#links.find(
      (link) =>
        link._role === "next" &&
        link._open &&
        [...this.#rooms.values()].every((room) => room._leaving || inRoom(link, room.name)),
    );
    if (!ready) return;
    const old = this.#current();
    if (old) {
      old._role = "retiring";
      old._pongBy = Infinity;
      old._closeAt = clock.now + LINGER;
      clock._due(old._closeAt);
    }
    ready._role = "current";
    this.#dialAt = ready._renewAt;
    this.#show({ type: "connected", renewed: true });
  }

  /** Joins every room on every connection that is in use. */
  #joinsDue(clock: Clock): void {
    for (const link of this.#links) {
      if (!link._open || link._role === "retiring") continue;
      for (const room of this.#rooms.values()) {
        // The service may take up a `join` and an earlier `leave` in either order.
        if (this.#leaving.some((left) => left.room === room.name)) continue;
        const known = membership(link, room.name);
        const settle = known._settle.filter((at) => !clock._due(at));
        if (settle.length < known._settle.length) room._check = true;
        known._settle = settle;
        const here = room.at();
        const wanted = !known._joined || known._poll || !here;
        const over = room._leaving && !room.outbox.length && !this.#asked.some((asked) => asked.room === room.name);
        if (!known.join && wanted && !over) {
          known._poll = false;
          known.join = { id: this.#settings._unique(), _quiet: known._joined, since: here, _retry: new Retry() };
        }
        const { join } = known;
        if (!join?._retry.send(clock, link.id, link._paces["join"])) continue;
        const { history } = room;
        // A `join` with `since` needs no history: if the position is lost, a `join` without it follows.
        const start = join.since ? { since: join.since } : history ? { history } : {};
        const presence = this.#settings._live || room.state !== undefined ? { state: room.state } : undefined;
        this.#send(link.id, { action: "join", room: room.name, id: join.id, batch: true, ...start, presence });
      }
    }
  }

  /** Sends what waits for an answer, on the connection in use. */
  #requestsDue(clock: Clock): void {
    const link = this.#usable();
    if (!link) return;
    for (const room of this.#rooms.values()) {
      const here = room.at();
      if (!here || !inRoom(link, room.name)) continue;
      this.#fillDue(clock, link, room, here);
      // Of the messages of the user only the first is sent.
      const [message] = room.outbox;
      if (!message?._retry.send(clock, link.id)) continue;
      if (message.after?.epoch !== here.epoch) room._dirty = true;
      const text = publish(room.name, message, message._searchAfter(here));
      this.#out.push({ type: "send", _link: link.id, _text: text });
    }
    for (const { id, room, frame, _retry: retry } of this.#asked) {
      if (room && (!this.#rooms.get(room)?.at() || !inRoom(link, room))) continue;
      if (!retry.send(clock, link.id)) continue;
      if (retry._attempt > ASK_ATTEMPTS) this.#unask(id, "no_answer", "No answer.", room);
      else this.#send(link.id, { ...frame(), id });
    }
  }

  /**
   * Reads the log after the position: in rooms where messages are missing, and some time after each `join`. Says that the
   * user is there, where others were told that it has left (rule 16 of PROTOCOL.md).
   */
  #fillDue(clock: Clock, link: Link, room: Log, here: Position): void {
    const { name } = room;
    if (clock._due(room._healAt)) {
      room._healAt = Infinity;
      room._healed = clock.now + HEAL_REST;
      const frame = () => ({ action: "presence", room: name, state: room.state ?? null });
      this.#asked.push({ id: this.#settings._unique(), room: name, frame, _retry: new Retry() });
    }
    if (!room._behind() && !room._check) return;
    if (!room._fill) {
      const late = room._cutShort || !room._behind();
      const wait = late ? 0 : whole(FILL_WAIT + FILL_WITHIN * this.#settings._chance());
      room._fill = { id: this.#settings._unique(), _retry: new Retry(clock.now + wait) };
    }
    const { id, _retry: retry } = room._fill;
    if (!retry.send(clock, link.id, link._paces["fill"])) return;
    this.#send(link.id, { action: "history", room: name, id, after: here.seq, limit: FILL_PAGE });
  }

  /** Leaves rooms in which every message and every question is answered. */
  #leavesDue(clock: Clock): void {
    for (const room of [...this.#rooms.values()]) {
      const { name } = room;
      // The service may take up a `leave` before an earlier `join`, so the answer to the `join` must be there.
      if (!room._leaving || room.outbox.length || this.#links.some((link) => link.rooms.get(name)?.join)) continue;
      if (this.#asked.some((asked) => asked.room === name)) continue;
      this.#forget(name);
      // Nobody leaves a pair room: the client only forgets it.
      if (name.startsWith("@")) this.#show({ type: "left", room: name });
      else this.#leaveLater(name, true);
    }
    // A connection cannot leave its last room: it is closed, which leaves everything.
    if (!this.#rooms.size && this.#links.length) this.#dropAll(clock.now, "no room left");
    for (const { id, room, _pending: pending } of this.#leaving) {
      for (const [link, retry] of pending) {
        if (retry.send(clock, link)) this.#send(link, { action: "leave", room, id });
      }
    }
    const left = this.#leaving.filter(({ _pending: pending }) => !pending.size);
    this.#leaving = this.#leaving.filter(({ _pending: pending }) => pending.size);
    for (const { room, _told: told } of left) {
      this.#leftAt.set(room, clock.now);
      const [oldest] = this.#leftAt.keys();
      if (this.#leftAt.size > MAX_LEFT) this.#leftAt.delete(oldest ?? "");
      if (told) this.#show({ type: "left", room });
      if (this.#rooms.has(room)) {
        // The user has joined the room again meanwhile: its `join` is due now.
        this.#leftAt.delete(room);
        this.#joinsDue(clock);
      }
    }
  }

  // Helpers.

  #current(): Link | undefined {
    return this.#links.find((link) => link._role === "current");
  }

  /** Returns the connection to send on. */
  #usable(): Link | undefined {
    const link = this.#current();
    return link?._open ? link : undefined;
  }

  /** Joins a room once more, because a frame does not fit the client's position. */
  #verify(room: string): void {
    const known = this.#current()?.rooms.get(room);
    if (known) known._poll = true;
  }

  /** Returns every frame that is sent until it is answered. */
  #open(): Open[] {
    const all: Open[] = [];
    for (const { rooms } of this.#links) {
      for (const [room, { join, signals }] of rooms) {
        if (join) all.push([join.id, join._retry, "join", room]);
        if (signals) all.push([signals, new Retry(), "signal", room]);
      }
    }
    for (const { name, _fill: fill, outbox } of this.#rooms.values()) {
      if (fill) all.push([fill.id, fill._retry, "fill", name]);
      for (const { id, _retry: retry } of outbox) all.push([id, retry, "message", name]);
    }
    for (const { id, _retry: retry, room } of this.#asked) all.push([id, retry, "asked", room]);
    for (const { id, room, _pending: pending } of this.#leaving) {
      for (const retry of pending.values()) all.push([id, retry, "leave", room]);
    }
    return all;
  }

  #send(link: number, frame: object): void {
    this.#out.push({ type: "send", _link: link, _text: JSON.stringify(frame) });
  }

  #show(event: Event): void {
    this.#out.push({ type: "show", event });
  }

  #complain(name: string, message: string, room?: string, id?: string): void {
    this.#show({ type: "error", id, room, name, message, retrying: false });
  }
}

/** Returns whether a connection is open and in a room. */
function inRoom(link: Link, room: string): boolean {
  return link._open && link.rooms.get(room)?._joined === true;
}

function membership(link: Link, room: string): Membership {
  let known = link.rooms.get(room);
  if (!known) link.rooms.set(room, (known = { _joined: false, _poll: false, _settle: [] }));
  return known;
}

function same(a: Position, b: Position): boolean {
  return a.epoch === b.epoch && a.seq === b.seq;
}

/** Returns the frame of a message, with its content as it was written. */
function publish(room: string, { id, json, change }: Outgoing, after: number): string {
  const { kind: action = "publish", ...fields }: { readonly kind?: string } = change ?? {};
  const frame = JSON.stringify({ action, room, id, after, ...fields });
  return change && action !== "edit" ? frame : `${frame.slice(0, -1)},"data":${json}}`;
}

/** Returns text in UTF-8. */
export function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
