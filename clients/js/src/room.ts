import { Emitter, Throttle, type Off } from "./events.js";
import type { Ack, Change, Entry, Lost, Mark, Members, Presence, ServiceFrame, Signal } from "./wire.js";
import type { Chat } from "./chat.js";

/** An error of the service or of the client. */
export class ChatError extends Error {
  override readonly name = "ChatError";
  constructor(
    /** The stable name of the error: one of PROTOCOL.md, or `outbox_full`, `no_answer`, `refused`, `lost`, `closed`. */
    readonly code: string,
    message: string,
    /** The room that the error is about. */
    readonly room?: string,
    /** True if the client tries again by itself. */
    readonly retrying = false,
    /** With the code `lost`: what is lost. */
    readonly lost?: Lost,
  ) {
    super(message);
  }
}

/** A message of a room. Messages never change: a new object takes the place of an old one. */
export type Message<T = unknown> = MessageFields &
  (
    | { readonly data: T; readonly deleted?: undefined }
    /** A message that was deleted keeps its place. */
    | { readonly data?: undefined; readonly deleted: { readonly at: number; readonly by: string; readonly reason?: string | undefined } }
  );

/** The fields of a message, but for its data. */
export interface MessageFields {
  /** Unique within the room, and the same from sending to being stored: the key of a list's item. */
  readonly key: string;
  /** The id that the sender gave to the message. */
  readonly id?: string | undefined;
  readonly from: string;
  /** The time when the message was received, or before that sent, in milliseconds since 1970. */
  readonly at: number;
  /** A message of one's own is `pending` until its `ack`. It is `failed` when the service has refused it. */
  readonly status: "stored" | "pending" | "failed";
  /** The number in the room's log. Absent until the message is stored. */
  readonly seq?: number;
  readonly epoch?: string;
  /** Messages in front of this one are lost. */
  readonly lost?: Lost | undefined;
  /** The reason why a message failed. */
  readonly error?: ChatError;
  /** The last edit: its time, and its number in the log. */
  readonly edited?: { readonly at: number; readonly seq: number } | undefined;
  /** The reactions by key: the number of users, and whether this user is among them. */
  readonly reactions?: { readonly [key: string]: { readonly count: number; readonly mine: boolean } } | undefined;
  /** The end of the log when the message was read: its reactions up to there are counted. @internal */
  readonly head?: number | undefined;
  /** True if the last `react` of a user, after `head`, was "on". @internal */
  readonly who?: { readonly [keyAndUser: string]: boolean };
}

/**
 * `joining`: never in the room yet. `live`: everything that is known to exist is shown. `behind`: not connected, or
 * messages are being fetched. `denied`: the service refuses the `join`. `left`: the room was left.
 */
export type RoomState = "joining" | "live" | "behind" | "denied" | "left";

/** A message on its way. */
export interface Sent {
  readonly id: string;
  readonly status: "pending" | "stored" | "failed";
  /** Resolves when the message is stored, rejects with a `ChatError` when it was refused. */
  readonly done: Promise<Ack>;
}

/** The entry that changes a message. */
export interface Changed extends Change {
  readonly epoch: string;
  /** The number of the entry. */
  readonly seq: number;
  readonly from: string;
  /** The new data, of an `edit`. */
  readonly data?: unknown;
  readonly at: number;
}

/** The events of a room. */
export interface RoomEvents<T = unknown> {
  /** The next message of the log, one's own included. */
  message: Message<T>;
  /** A message was edited, deleted or got a reaction, perhaps one that is not shown. `messages` has it already. */
  changed: Changed;
  /** Messages are lost: the log no longer holds what follows the last message shown. */
  lost: Lost;
  /**
   * The room was entered, for the first time or again. `recovered`: nothing was lost since the last connection.
   * `presence`: `count` in a room with too many connections to tell who is there; absent without `live`.
   */
  joined: {
    readonly recovered: boolean | null;
    readonly first: number;
    readonly head: number;
    readonly presence?: "live" | "count";
    readonly count?: number;
  };
  /** Missing messages were fetched from the log. */
  filled: { readonly count: number };
  /** A signal of another connection. */
  signal: Signal;
  /**
   * A user is there, has changed its state, or has left; `roomchat/presence` has the list. `count`: the room has too many
   * connections for that, so many.
   */
  presence: Presence | { readonly event: "count"; readonly count: number };
  /** Anything about the room has changed. */
  change: undefined;
}

/** The choices for a room. */
export interface RoomOptions {
  /** The number of messages shown on entering, 0 to 100; by default 50. */
  history?: number;
}

/** The shortest time between two signals of a kind: the service drops those beyond 5 a second. */
const SIGNALS = 200;

/** While the user types, the others are told so at this interval. They forget it after `FORGET`. */
const TYPING = 6_000;
const FORGET = 8_000;

/** A room: its log as it grows, and what one can do in it. Made by `chat.room(name)`. */
export class Room<T = unknown> extends Emitter<RoomEvents<T>> {
  /** The state of the room. */
  state: RoomState = "joining";
  /** The log: stored messages, in order. */
  #log: Message<T>[] = [];
  /** The index in `#log` of the first message after the last loss. Older pages go in front of it. */
  #start = 0;
  /** The loss in front of the next message. */
  #lost: Lost | undefined;
  /** One's own messages that are not in the log yet. */
  #tail: Message<T>[] = [];
  #messages: readonly Message<T>[] | undefined;
  /** The newest message, and the newest one that the user has read. */
  #last: Mark | undefined;
  #mark: Mark | undefined;
  /** True once the user has read something on this page. */
  #read = false;
  readonly #signals = new Throttle();
  #typedAt = 0;
  #typists = new Map<string, { at: number; _timer?: ReturnType<typeof setTimeout> }>();
  #names: readonly string[] = [];
  #older = Promise.resolve(true);

  /** @internal */
  constructor(
    readonly chat: Chat,
    readonly name: string,
  ) {
    super();
  }

  /**
   * The messages in order, without a hole that is not marked by `lost`; at the end one's own that are not stored yet.
   * A new array after each change.
   */
  get messages(): readonly Message<T>[] {
    if (!this.#messages) {
      this.#messages = [...this.#log, ...this.#tail];
    }
    return this.#messages;
  }

  /** Calls `listener` after each change of the room, until the returned function is called. */
  readonly subscribe = (listener: () => void): Off => this.on("change", listener);

  /**
   * Sends a message. It is shown at once, as `pending`, and settled by the answer of the service. Messages of a room are
   * stored in the order in which they were sent.
   *
   * @param data any JSON, up to 32 KB with its envelope
   * @param options `id`: a name of your own for the message, unique among all messages of the user
   */
  send(data: T, options: { id?: string } = {}): Sent {
    this.#typedAt = 0;
    const sent = this.chat._send(this.name, data, options.id);
    // The message itself shows that it failed.
    sent.done.catch(() => undefined);
    return sent;
  }

  /** Gives a message, one's own or as a moderator another's, other data. Resolves when the edit is stored. */
  edit(seq: number, data: T): Promise<Ack> {
    return this.#change({ kind: "edit", target: seq }, data);
  }

  /** Deletes the content of a message, one's own or as a moderator another's. It keeps its place, with `deleted`. */
  remove(seq: number, reason?: string): Promise<Ack> {
    return this.#change({ kind: "delete", target: seq, reason });
  }

  /** Adds a reaction of the user to a message, or with `false` takes it back. `key`: such as 👍, up to 32 characters. */
  react(seq: number, key: string, on = true): Promise<Ack> {
    return this.#change({ kind: "react", target: seq, key, on });
  }

  #change(change: Change, data: unknown = null): Promise<Ack> {
    return this.chat._send(this.name, data, undefined, change).done;
  }

  /**
   * The number of messages since the last `mark`, of any device where the service verifies users; otherwise since the
   * room was entered.
   */
  get unread(): number {
    const [last, mark] = [this.#last, this.#mark];
    if (!last || !mark) return 0;
    return last.epoch === mark.epoch ? Math.max(0, last.n - mark.n) : last.n;
  }

  /** Notes that the user has read everything so far. Where the service verifies users, all devices learn of it. */
  mark(): void {
    const last = this.#last;
    if (!last || (this.#read && this.#mark?.epoch === last.epoch && this.#mark.seq >= last.seq)) return;
    this.#read = true;
    this.#mark = last;
    this.chat._mark(this.name, last);
    this._changed();
  }

  /** The users who are typing. A new array after each change. */
  get typists(): readonly string[] {
    return this.#names;
  }

  /** Tells the others that the user is typing. Call it at each change of the text: it sends a signal every 6 s. */
  typing(): void {
    if (Date.now() - this.#typedAt < TYPING) return;
    this.#typedAt = Date.now();
    this.signal("typing");
  }

  /**
   * Sends a signal to the others in the room: for this moment, not stored, perhaps lost. Signals of a kind that come
   * faster than the service takes them replace each other; the newest is sent.
   *
   * @param data any JSON of at most 1 KB
   * @param options `to`: the only user who gets it
   */
  signal(kind: string, data?: unknown, options: { to?: string } = {}): void {
    const { to } = options;
    this.#signals._run(`${kind} ${to ?? ""}`, SIGNALS, () => this.chat._handle({ type: "signal", room: this.name, kind, data, to }));
  }

  /**
   * Sets the state of the user in the room for the others there, such as `{ status: "away" }`; `null` clears it. Any JSON
   * of at most 1 KB. The others are told that the user is there, as with `live`.
   */
  async setState(state: unknown): Promise<void> {
    this.chat._handle({ type: "state", room: this.name, state });
    await this.chat.request({ action: "presence", room: this.name, state }, this.name);
  }

  /** Drops a message that has failed. */
  discard(id: string): void {
    this.#tail = this.#tail.filter((message) => message.id !== id || message.status !== "failed");
    this._changed();
  }

  /** Loads up to `count` messages, 1 to 100, in front of the oldest one. Resolves to whether there are more. */
  older(count = 50): Promise<boolean> {
    // The next page begins where the one before it ends, so they are read one after the other.
    const read = () => this.chat._older(this, count);
    return (this.#older = this.#older.then(read, read));
  }

  /**
   * Asks the service who is in the room: up to 100 users, in order of their names.
   *
   * @param options `after`: the users after this one; `state` and `probe`: PROTOCOL.md, members
   */
  async members(options: { after?: string; state?: boolean; probe?: boolean } = {}): Promise<Members> {
    const frame = { action: "members", room: this.name, ...options };
    return (await this.chat.request(frame, this.name)) as Members & ServiceFrame;
  }

  /** Leaves the room, once every message in it is answered. */
  leave(): Promise<void> {
    return this.chat._leave(this as Room);
  }

  /** @internal */
  _changed(): void {
    this.#messages = undefined;
    this._emit("change", undefined);
  }

  /** @internal */
  _pending(id: string, data: unknown): void {
    this.#tail.push({ key: id, id, from: this.chat.user, data: data as T, at: Date.now(), status: "pending" });
  }

  /** @internal */
  _failed(id: string, error: ChatError): void {
    this.#tail = this.#tail.map((message) => (message.id === id ? { ...message, status: "failed", error } : message));
  }

  /** @internal */
  _acked({ id, seq, epoch, at }: Ack): void {
    const stored = { seq, epoch, at, status: "stored" } as const;
    this.#tail = this.#tail.map((message) => (message.id === id ? { ...message, ...stored } : message));
  }

  /** @internal */
  _took(entry: Entry): void {
    let message = this.#stored(entry);
    const { from, at, epoch, seq, n } = entry;
    this.#last = { epoch, seq, n };
    this.#mark ??= { epoch, seq: seq - 1, n: n - 1 };
    if (from === this.chat.user) this.mark();
    else this.#types(from, at, false);
    if (this.#lost) message = { ...message, lost: this.#lost };
    this.#lost = undefined;
    this.#log.push(message);
    this._emit("message", message);
    if (entry.count) this._emit("presence", { event: "count", count: entry.count });
  }

  /** Takes an entry that changes a message. It changes nothing in a message that was read after it. @internal */
  _changes(entry: Entry): void {
    const { kind, epoch, seq, target, from, at, data, key = "", on = true, reason } = entry;
    const index = this.#log.findLastIndex((message) => message.seq === target && message.epoch === epoch);
    const old = this.#log[index];
    if (old) {
      if (old.deleted || seq <= Math.max(old.head ?? 0, old.edited?.seq ?? 0)) return;
      let now: object = { data: undefined, reactions: undefined, deleted: { at, by: from, reason } };
      if (kind === "edit") now = { data, edited: { at, seq } };
      if (kind === "react") {
        const { [key]: reaction = { count: 0, mine: false }, ...others } = old.reactions ?? {};
        const own = from === this.chat.user;
        const who = `${key}\n${from}`;
        const was = own ? reaction.mine : (old.who?.[who] ?? !on);
        const count = reaction.count + Number(on) - Number(was);
        const reactions = count > 0 ? { ...others, [key]: { count, mine: own ? on : reaction.mine } } : others;
        now = { reactions, who: { ...old.who, [who]: on } };
      }
      this.#log[index] = { ...old, ...now } as Message<T>;
    }
    this._emit("changed", entry as Changed);
  }

  /** @internal */
  _joined(epoch: string, seq: number, n: number, recovered: boolean | null): void {
    this.#last = { epoch, seq, n };
    // The messages of the first time count as read, unless a mark says otherwise.
    if (recovered === null) this.#mark ??= this.#last;
  }

  /** Takes a mark of another page or device. @internal */
  _marked(mark: Mark, stored: boolean): void {
    const older = this.#mark?.epoch === mark.epoch && mark.seq < this.#mark.seq;
    if (stored ? this.#read : older) return;
    this.#mark = mark;
    // The service knows it from the other device.
    if (!stored) this.chat._mark(this.name);
    this._changed();
  }

  /** @internal */
  _signalled(signal: Signal): void {
    const { kind, from, at } = signal;
    if (from !== this.chat.user && (kind === "typing" || kind === "stopped")) {
      if (at >= (this.#typists.get(from)?.at ?? 0)) this.#types(from, at, kind === "typing");
    }
    if (from === this.chat.user && kind === "read") this._marked(signal.data as Mark, false);
    this._emit("signal", signal);
  }

  #types(user: string, at: number, typing: boolean): void {
    const before = this.#typists.get(user);
    clearTimeout(before?._timer);
    if (typing) {
      const timer = setTimeout(() => {
        this.#types(user, at, false);
        this._changed();
      }, FORGET);
      this.#typists.set(user, { at, _timer: timer });
    } else if (before) this.#typists.set(user, { at });
    this.#names = [...this.#typists].filter(([, { _timer: timer }]) => timer).map(([name]) => name);
  }

  /** @internal */
  _prepend(entries: readonly Entry[]): void {
    const [next] = this.#log.slice(this.#start);
    const page = entries.map((entry) => this.#stored(entry));
    if (next?.lost && page[0]) {
      // The hole is in front of the oldest message after it.
      page[0] = { ...page[0], lost: next.lost };
      this.#log[this.#start] = { ...next, lost: undefined };
    }
    this.#log.splice(this.#start, 0, ...page);
    this._changed();
  }

  /** @internal */
  _lose(lost: Lost): boolean {
    this.#start = this.#log.length;
    this.#lost = lost;
    const { epoch, seq } = lost.resumed;
    this.#tail = this.#tail.filter((own) => own.seq === undefined || (own.epoch === epoch && own.seq > seq));
    return this._emit("lost", lost);
  }

  #stored({ id, from, data, at, seq, epoch, head, edited, deleted, reactions }: Entry): Message<T> {
    // One's own message moves to its place in the log, perhaps before its `ack`.
    const own = from === this.chat.user ? this.#tail.findIndex((message) => message.id === id) : -1;
    const key = this.#tail.splice(own, Number(own >= 0))[0]?.key ?? `${epoch}:${seq}`;
    const stored = { key, id: id ?? undefined, from, data, at, seq, epoch, status: "stored", head, edited, deleted, reactions };
    return stored as Message<T>;
  }
}
