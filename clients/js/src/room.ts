import { Emitter, Throttle, type Off } from "./events.js";
import type { Ack, Entry, Lost, Mark, Members, ServiceFrame, Signal } from "./wire.js";
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
export interface Message<T = unknown> {
  /** Unique within the room, and the same from sending to being stored: the key of a list's item. */
  readonly key: string;
  /** The id that the sender gave to the message. */
  readonly id?: string | undefined;
  readonly from: string;
  readonly data: T;
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

/** The events of a room. */
export interface RoomEvents<T = unknown> {
  /** The next message of the log, one's own included. */
  message: Message<T>;
  /** Messages are lost: the log no longer holds what follows the last message shown. */
  lost: Lost;
  /** The room was entered, for the first time or again. `recovered`: nothing was lost since the last connection. */
  joined: { readonly recovered: boolean | null; readonly first: number; readonly head: number };
  /** Missing messages were fetched from the log. */
  filled: { readonly count: number };
  /** A signal of another connection. */
  signal: Signal;
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

/** The part of a chat that its rooms use. @internal */
export interface Host {
  send(room: string, data: unknown, id?: string): Sent;
  signal(room: string, kind: string, data: unknown, to: string | undefined): void;
  older(room: string, limit: number): Promise<boolean>;
  request(frame: object, room?: string): Promise<ServiceFrame>;
  mark(room: string, mark: Mark): void;
  leave(room: Room): Promise<void>;
  user(): string;
}

/** A room: its log as it grows, and what one can do in it. Made by `chat.room(name)`. */
export class Room<T = unknown> extends Emitter<RoomEvents<T>> {
  /** The state of the room. */
  state: RoomState = "joining";
  readonly #host: Host;
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
  #typists = new Map<string, { at: number; timer?: ReturnType<typeof setTimeout> }>();
  #names: readonly string[] = [];

  /** @internal */
  constructor(
    readonly chat: Chat,
    readonly name: string,
    host: Host,
  ) {
    super();
    this.#host = host;
  }

  /**
   * The messages in order, without a hole that is not marked by `lost`; at the end one's own that are not stored yet.
   * A new array after each change.
   */
  get messages(): readonly Message<T>[] {
    if (!this.#messages) {
      // A message that came by the log before its `ack` is shown there, and no longer as pending.
      const shown = new Set<string | undefined>();
      const own = this.#host.user();
      if (this.#tail.length) for (const { from, id } of this.#log) if (from === own) shown.add(id);
      const tail = this.#tail.filter(({ id }) => !shown.has(id));
      this.#messages = tail.length ? [...this.#log, ...tail] : this.#log.slice();
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
    return this.#host.send(this.name, data, options.id);
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
    this.#host.mark(this.name, last);
    this.changed();
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
    this.#signals.run(`${kind} ${to ?? ""}`, SIGNALS, () => this.#host.signal(this.name, kind, data, to));
  }

  /** Drops a message that has failed. */
  discard(id: string): void {
    this.#tail = this.#tail.filter((message) => message.id !== id || message.status !== "failed");
    this.changed();
  }

  /** Loads up to `count` messages, 1 to 100, in front of the oldest one. Resolves to whether there are more. */
  older(count = 50): Promise<boolean> {
    return this.#host.older(this.name, count);
  }

  /** Asks the service who is in the room: up to 100 users, in order of their names. */
  async members(): Promise<Members> {
    return (await this.#host.request({ action: "members", room: this.name }, this.name)) as Members & ServiceFrame;
  }

  /** Leaves the room, once every message in it is answered. */
  leave(): Promise<void> {
    return this.#host.leave(this as Room);
  }

  /** @internal */
  changed(): void {
    this.#messages = undefined;
    this.emit("change", undefined);
  }

  /** @internal */
  pending(id: string, data: unknown): void {
    this.#tail.push({ key: id, id, from: this.#host.user(), data: data as T, at: Date.now(), status: "pending" });
  }

  /** @internal */
  failed(id: string, error: ChatError): void {
    this.#tail = this.#tail.map((message) => (message.id === id ? { ...message, status: "failed", error } : message));
  }

  /** @internal */
  acked({ id, seq, epoch, at }: Ack): void {
    const stored = { seq, epoch, at, status: "stored" } as const;
    this.#tail = this.#tail.map((message) => (message.id === id ? { ...message, ...stored } : message));
  }

  /** @internal */
  took(entry: Entry): void {
    let message = this.#stored(entry);
    const own = this.#tail.findIndex(({ epoch, seq }) => epoch === entry.epoch && seq === entry.seq);
    if (own >= 0) this.#tail.splice(own, 1);
    const { from, at, epoch, seq, n } = entry;
    this.#last = { epoch, seq, n };
    this.#mark ??= { epoch, seq: seq - 1, n: n - 1 };
    if (from === this.#host.user()) this.mark();
    else this.#types(from, at, false);
    if (this.#lost) message = { ...message, lost: this.#lost };
    this.#lost = undefined;
    this.#log.push(message);
    this.emit("message", message);
  }

  /** @internal */
  joined(epoch: string, seq: number, n: number, recovered: boolean | null): void {
    this.#last = { epoch, seq, n };
    // The messages of the first time count as read, unless a mark says otherwise.
    if (recovered === null) this.#mark ??= this.#last;
  }

  /** Takes a mark of another page or device. @internal */
  marked(mark: Mark, stored: boolean): void {
    const newer = this.#mark?.epoch !== mark.epoch || mark.seq > this.#mark.seq;
    if (stored ? this.#read : !newer) return;
    this.#mark = mark;
    this.changed();
  }

  /** @internal */
  signalled(signal: Signal): void {
    const { kind, from, at } = signal;
    if (from !== this.#host.user() && (kind === "typing" || kind === "stopped")) {
      if (at >= (this.#typists.get(from)?.at ?? 0)) this.#types(from, at, kind === "typing");
    }
    if (from === this.#host.user() && kind === "read") this.marked(signal.data as Mark, false);
    this.emit("signal", signal);
  }

  #types(user: string, at: number, typing: boolean): void {
    const before = this.#typists.get(user);
    clearTimeout(before?.timer);
    if (typing) {
      const timer = setTimeout(() => {
        this.#types(user, at, false);
        this.changed();
      }, FORGET);
      this.#typists.set(user, { at, timer });
    } else if (before) this.#typists.set(user, { at });
    this.#names = [...this.#typists].filter(([, { timer }]) => timer).map(([name]) => name);
  }

  /** @internal */
  prepend(entries: readonly Entry[]): void {
    const [next] = this.#log.slice(this.#start);
    const page = entries.map((entry) => this.#stored(entry));
    if (next?.lost && page[0]) {
      // The hole is in front of the oldest message after it.
      page[0] = { ...page[0], lost: next.lost };
      this.#log[this.#start] = { ...next, lost: undefined };
    }
    this.#log.splice(this.#start, 0, ...page);
  }

  /** @internal */
  lose(lost: Lost): boolean {
    this.#start = this.#log.length;
    this.#lost = lost;
    const { epoch, seq } = lost.resumed;
    this.#tail = this.#tail.filter((own) => own.seq === undefined || (own.epoch === epoch && own.seq > seq));
    return this.emit("lost", lost);
  }

  #stored({ id, from, data, at, seq, epoch }: Entry): Message<T> {
    const own = id != null && this.#tail.some((message) => message.id === id) && from === this.#host.user();
    const key = own ? id : `${epoch}:${seq}`;
    return { key, id: id ?? undefined, from, data: data as T, at, seq, epoch, status: "stored" };
  }
}
