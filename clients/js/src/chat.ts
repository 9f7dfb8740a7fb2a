import { Core, encode, type Input } from "./core.js";
import { Emitter, Throttle, report } from "./events.js";
import type { Saved } from "./log.js";
import { ChatError, Room, type RoomOptions, type Sent } from "./room.js";
import type { Ack, Change, Event, Mark, Marks, Page, ServiceFrame } from "./wire.js";

/** The part of a `WebSocket` that the client uses. */
export interface SocketLike {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** `addEventListener(type, listener)`, as each runtime types it. */
  readonly addEventListener: (...parameters: never[]) => void;
}

/** Keeps positions, and messages that are not stored yet, across reloads of a page. `roomchat/store` has one. */
export interface Store {
  /** Returns what was saved of a room. */
  load(room: string): Saved | undefined;
  /** Saves a room; `undefined` after it was left. */
  save(room: string, saved: Saved | undefined): void;
}

/** The choices for a connection. */
export interface Options {
  /**
   * Returns a token for the next connection; `null`: there is none, and the client closes. It is called for each
   * connection: `first`; `renew`, where a connection has to be replaced; `refused`, after a handshake that failed.
   */
  getToken?: (why: "first" | "renew" | "refused") => string | null | Promise<string | null>;
  /** The name of the user, where the service does not verify users. By default a guest's. */
  user?: string;
  /**
   * Joins rooms with presence: the others are told that the user is there, and their signals come, such as who is typing.
   * By default neither; rooms of two have signals all the same.
   */
  live?: boolean;
  /** The constructor of sockets, where the runtime has none (Node.js 20). */
  WebSocket?: new (url: string, protocols?: string | string[]) => SocketLike;
  /** The store in which positions and unsent messages survive a reload. */
  store?: Store;
}

/**
 * `idle`: no room is wanted, so there is no connection. `connecting`: no connection was open yet. `online`: one is open.
 * `offline`: it is lost, and the client connects again by itself. `closed`: by `close`, or because there is no token.
 */
export type ChatState = "idle" | "connecting" | "online" | "offline" | "closed";

/** The events of a chat. */
export interface ChatEvents {
  /** The state has changed. */
  state: ChatState;
  /** Something failed that no promise and no message tells of. Without a listener the runtime reports it. */
  error: ChatError;
  /** A connection is open. `renewed`: it has replaced another one, without a pause. */
  connected: { readonly renewed: boolean };
  /** The connection is lost. `retryInMs`: the wait before the next try. */
  disconnected: { readonly reason: string; readonly retryInMs?: number };
  /** A message of a user whose pair room is not open: `chat.to(user)` opens it. */
  direct: { readonly user: string };
}

/** The interval of heartbeats in milliseconds: API Gateway closes after 10 minutes, a page may be a minute late. */
const HEARTBEAT = 300_000;

/** API Gateway ends a connection after 2 hours. It is replaced 5 to 15 minutes earlier. */
const MAX_LIFE = 6_900_000;

/** The time after which a frame without an answer is sent again. */
const ACK_TIMEOUT = 10_000;

/** The longest timer, so that a sleep of the computer is noticed soon after it. */
const MAX_TIMER = 30_000;

/** A timer that is late by more than this has slept. */
const SLEPT = 30_000;

/** A page in the background runs its timers once a minute. */
const CLAMPED = 60_000;

/** The shortest time between two marks of a room. */
const MARKS = 5_000;

const CLOSED = "The chat is closed.";
const LEFT = "The room was left.";

/** The number of messages of a room that may wait to be stored. */
const MAX_OUTBOX = 100;

/** Valid names of rooms and users: PROTOCOL.md, Connecting. */
const NAME =
  /^(?!\p{M})(?!.*[\p{Default_Ignorable_Code_Point}\u{2D7F}\u{2800}\u{13441}\u{13442}\u{16FE4}])(?!.*\p{M}{9})(?!(?:undefined|null|NaN|None)$)[\p{Alphabetic}\p{N}\p{M}\-_.:]{1,64}$/u;

/** The fields of the events of a socket. */
interface SocketEvent {
  readonly data?: unknown;
  readonly code?: number;
  readonly reason?: string;
}

interface EventSource {
  addEventListener(type: string, listener: (event: SocketEvent) => void): void;
}

/** A message or a question that waits for its answer. */
interface Waiting {
  readonly id: string;
  status: Sent["status"];
  done: Promise<Ack | ServiceFrame>;
  readonly resolve: (answer: Ack | ServiceFrame) => void;
  readonly reject: (error: ChatError) => void;
}

/** A chat: one user's connection to the service, and its rooms. Made by `connect`. */
export class Chat extends Emitter<ChatEvents> {
  /** The state of the connection. */
  state: ChatState = "idle";
  /** The reason why the state is `offline` or `closed`, for people. */
  reason: string | undefined;
  readonly #url: URL;
  readonly #options: Options;
  readonly #core: Core;
  readonly #rooms = new Map<string, Room>();
  readonly #sockets = new Map<number, SocketLike | undefined>();
  readonly #waiting = new Map<string, Waiting>();
  #leaving: [string, () => void][] = [];
  readonly #watching = new AbortController();
  readonly #throttle = new Throttle();
  /** The marks of the user by room, of the first hundred rooms or so. */
  #marks: Promise<Marks> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity;
  #now = 0;
  #tried = false;
  #failed = false;
  #wasOnline = false;
  /** True once the service has said who the user is. */
  #known = false;
  /** True if handshakes name the user. */
  #named: boolean;

  /** @internal */
  constructor(url: string, options: Options) {
    super();
    this.#url = new URL(url);
    this.#url.protocol = this.#url.protocol.replace(/^http/, "ws");
    if (!/^wss?:$/.test(this.#url.protocol)) throw new TypeError(`not a ws:// or wss:// URL: ${url}`);
    this.#options = options;
    this.#named = !options.getToken;
    this.#core = new Core({
      user: options.user === undefined ? `guest-${unique().slice(0, 6)}` : checked(options.user, "user"),
      _heartbeat: HEARTBEAT,
      _maxLife: MAX_LIFE,
      _ackTimeout: ACK_TIMEOUT,
      _live: options.live,
      _chance: Math.random,
      _unique: unique,
    });
    this.#watch("online", () => this._handle({ type: "nudge" }));
    this.#watch("visibilitychange", () => hidden() || this.#wake({ type: "nudge" }));
    this.#watch("pagehide", () => this._handle({ type: "suspend" }));
    this.#watch("pageshow", (event) => event.persisted && this._handle({ type: "woke" }));
  }

  /** The name of the user, as the service knows it. */
  get user(): string {
    return this.#core.user;
  }

  /** The rooms by name. */
  get rooms(): ReadonlyMap<string, Room> {
    return this.#rooms;
  }

  /**
   * Joins a room. Returns the same object for the same name, until the room is left.
   *
   * @throws TypeError if the name is not valid.
   */
  room<T = unknown>(name: string, options: RoomOptions = {}): Room<T> {
    name = name.startsWith("@") ? name : checked(name, "room");
    const known = this.#rooms.get(name);
    if (known && known.state !== "denied") return known as unknown as Room<T>;
    if (this.state === "closed") throw new ChatError("closed", CLOSED, name);
    const room = new Room(this, name);
    this.#rooms.set(name, room);
    const history = options.history ?? 50;
    const saved = this.#core.rooms.has(name) ? undefined : this.#options.store?.load(name);
    // The first outputs come in a moment: the caller can listen first.
    this._handle({ type: "join", room: name, history, _saved: saved });
    const log = this.#core.rooms.get(name);
    for (const { id, json, change } of log?.outbox ?? []) {
      if (!change) room._pending(id, JSON.parse(json));
      if (!this.#waiting.has(id)) this.#wait(id).done.catch((error: ChatError) => change && this.#error(error));
    }
    // The log goes on at a position of an earlier page: what was before it is shown as well.
    if (log?.at() && history > 0) room.older(history).catch(() => undefined);
    room._changed();
    return room as unknown as Room<T>;
  }

  /**
   * Opens the pair room of this user and another one, where the service verifies users. Nobody joins or leaves it.
   *
   * @throws ChatError `unknown_user` as long as the service has not said who this user is: wait until a room is live.
   */
  to<T = unknown>(user: string, options?: RoomOptions): Room<T> {
    if (!this.#known) throw new ChatError("unknown_user", "The user is unknown.");
    return this.room<T>(pair(this.user, user), options);
  }

  /**
   * Asks the service a question of PROTOCOL.md, such as `{ action: "heads", rooms: ["lobby"] }`, and resolves to the
   * frame that answers it. It is asked up to five times.
   *
   * @param room waits until the chat is in this room
   */
  request(frame: object, room?: string): Promise<ServiceFrame> {
    return this.#ask(() => frame, room);
  }

  /** Closes the connection, for good. Messages that are not stored are kept where there is a store. */
  close(): void {
    this.#close("closed");
  }

  #close(reason: string): void {
    if (this.state === "closed") return;
    this.reason = reason;
    this.#watching.abort();
    clearTimeout(this.#timer);
    for (const socket of this.#sockets.values()) socket?.close(1000);
    this.#sockets.clear();
    const error = new ChatError("closed", CLOSED);
    for (const { reject } of this.#waiting.values()) reject(error);
    for (const [, resolve] of this.#leaving) resolve();
    this.#setState("closed");
    for (const room of this.#rooms.values()) this.#setRoomState(room, "left");
    this.#rooms.clear();
  }

  #setState(state: ChatState): void {
    if (this.state === state) return;
    this.state = state;
    this._emit("state", state);
  }

  #setRoomState(room: Room, state: Room["state"]): void {
    if (room.state === state) return;
    room.state = state;
    room._changed();
  }

  // Commands of the rooms.

  /** @internal */
  _send(name: string, data: unknown, id = unique(), change?: Change): Sent {
    const json = JSON.stringify(data) as string | undefined;
    if (json === undefined) throw new TypeError("data must be JSON");
    let error = this.#unable(name);
    if (Number(this.#core.rooms.get(name)?.outbox.length) >= MAX_OUTBOX) error ??= new ChatError("outbox_full", `${MAX_OUTBOX} messages wait.`, name);
    if (this.#waiting.has(id)) error ??= new ChatError("id_conflict", "The id is in use.", name);
    if (error) return { id, status: "failed", done: Promise.reject(error) };
    const message = this.#wait(id) as Sent & Waiting;
    if (!change) {
      const room = this.#rooms.get(name);
      room?._pending(id, JSON.parse(json));
      room?._changed();
    }
    this._handle({ type: "publish", room: name, id, json, change });
    return message;
  }

  #wait(id: string): Waiting {
    const message = { id, status: "pending" } as Waiting;
    message.done = new Promise((resolve, reject) => Object.assign(message, { resolve, reject }));
    this.#waiting.set(id, message);
    return message;
  }

  /** Returns why nothing can be sent to a room. */
  #unable(room?: string): ChatError | undefined {
    if (this.state === "closed") return new ChatError("closed", CLOSED, room);
    if (room === undefined || this.#core.rooms.get(room)?._leaving === false) return undefined;
    return new ChatError("not_a_member", LEFT, room);
  }

  #ask(frame: () => object, room?: string): Promise<ServiceFrame> {
    const error = this.#unable(room);
    if (error) return Promise.reject(error);
    const id = unique();
    const { done } = this.#wait(id);
    this._handle({ type: "ask", id, room, frame });
    return done as Promise<ServiceFrame>;
  }

  /** @internal */
  async _older(room: Room, limit: number): Promise<boolean> {
    const { name } = room;
    const log = this.#core.rooms.get(name);
    const frame = () => ({ action: "history", room: name, before: log?._oldest, limit });
    const { epoch, messages, more } = (await this.#ask(frame, name)) as Page & ServiceFrame;
    const [first] = messages;
    // After a loss the page is not of what is in front of the oldest message.
    if (log && first && epoch === log._place?.epoch && messages.at(-1)?.seq === log._oldest - 1) {
      log._oldest = first.seq;
      room._prepend(messages.filter(({ kind }) => kind === undefined));
    }
    return more;
  }

  /** @internal */
  _mark(room: string, mark?: Mark): void {
    if (!this.#options.getToken) return;
    const send = () => mark && void this.request({ action: "mark", room, ...mark }).catch(() => undefined);
    this.#throttle._run(room, MARKS, send);
  }

  /** @internal */
  _leave(room: Room): Promise<void> {
    if (this.#rooms.get(room.name) !== room) return Promise.resolve();
    this.#rooms.delete(room.name);
    this.#setRoomState(room, "left");
    return new Promise((resolve) => {
      this.#leaving.push([room.name, resolve]);
      this._handle({ type: "leave", room: room.name });
    });
  }

  // The state machine.

  /** @internal */
  _handle(input: Input): void {
    if (this.state === "closed") return;
    // The clock of the computer may be set back; the machine's time never is.
    this.#now = Math.max(this.#now, Date.now());
    const changed = new Set<Room>();
    for (const output of this.#core._handle(this.#now, input)) {
      if (output.type === "connect") void this.#open(output._link, output.room);
      else if (output.type === "send") this.#sockets.get(output._link)?.send(output._text);
      else if (output.type === "close") {
        const socket = this.#sockets.get(output._link);
        this.#sockets.delete(output._link);
        socket?.close(1000);
      } else this.#shown(output.event, changed);
    }
    this.#save();
    // By a `bye`, or by a listener of the application.
    if ((this.state as ChatState) === "closed") return;
    for (const room of changed) room._changed();
    for (const room of this.#rooms.values()) this.#setRoomState(room, this.#roomState(room));
    const { online, rooms } = this.#core;
    this.#wasOnline ||= online;
    this.#setState(online ? "online" : !rooms.size ? "idle" : this.#wasOnline ? "offline" : "connecting");
    this.#schedule();
  }

  #roomState({ name, state }: Room): Room["state"] {
    const log = this.#core.rooms.get(name);
    if (!log) return state === "denied" ? "denied" : "left";
    if (!log._entered) return "joining";
    return this.#core._isLive(name) ? "live" : "behind";
  }

  #shown(event: Event, changed: Set<Room>): void {
    const room = "room" in event && event.room !== undefined ? this.#rooms.get(event.room) : undefined;
    if (room) changed.add(room);
    switch (event.type) {
      case "connected":
        this.reason = undefined;
        this._emit("connected", event);
        break;
      case "disconnected":
        this.reason = event.reason;
        this._emit("disconnected", event);
        break;
      case "joined":
        this.#known = true;
        room?._joined(event.epoch, event.head, event.headN, event.recovered);
        if (this.#options.getToken) {
          this.#marks ??= this.request({ action: "marks" }) as Promise<Marks & ServiceFrame>;
          this.#marks.then(({ marks: { [event.room]: mark } }) => mark && room?._marked(mark, true)).catch(() => undefined);
        }
        room?._emit("joined", event);
        break;
      case "message":
        room?._took(event);
        break;
      case "edit":
      case "delete":
      case "react":
        room?._changes(event);
        break;
      case "ack":
        room?._acked(event);
        this.#settle(event.id, "stored")?.resolve(event);
        break;
      case "lost": {
        if (room?._lose(event)) break;
        const count = event.missing === undefined ? "Messages" : `${event.missing} messages`;
        this.#error(new ChatError("lost", `${count} of ${event.room} are lost.`, event.room, false, event));
        break;
      }
      case "presence":
      case "filled":
        room?._emit(event.type, event as never);
        break;
      case "answer":
        this.#settle(event.id, "stored")?.resolve(event.frame);
        break;
      case "direct": {
        const user = event.room.slice(1).split("&").find((name) => name !== this.user);
        if (user) this._emit("direct", { user });
        break;
      }
      case "bye":
        this.#close(event.reason);
        break;
      case "signal":
        room?._signalled(event);
        break;
      case "left":
        this.#leaving = this.#leaving.filter(([name, resolve]) => name !== event.room || resolve());
        if (!this.#core.rooms.has(event.room)) this.#options.store?.save(event.room, undefined);
        break;
      case "denied":
        if (room) room.state = "denied";
        this.#options.store?.save(event.room, undefined);
        this.#error(new ChatError(event.name, event.message, event.room));
        break;
      case "error":
        this.#failure(event, room);
    }
  }

  #failure({ id = "", room: name, name: code, message, retrying }: Event & { type: "error" }, room?: Room): void {
    const error = new ChatError(code, message, name, retrying);
    if (!this.#waiting.has(id)) {
      if (!name || this.#core.rooms.has(name)) this.#error(error);
    } else if (!retrying) {
      room?._failed(id, error);
      this.#settle(id, "failed")?.reject(error);
    }
  }

  /** Takes what waits for an answer, under the id of its frame. */
  #settle(id = "", status: Sent["status"]): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting) waiting.status = status;
    return waiting;
  }

  #error(error: ChatError): void {
    if (!this._emit("error", error) && !error.retrying) report(error);
  }

  #save(): void {
    for (const [name, log] of this.#core.rooms) {
      if (log._dirty) this.#options.store?.save(name, log._saved());
      log._dirty = false;
    }
  }

  // The clock.

  #schedule(): void {
    clearTimeout(this.#timer);
    const deadline = this.#core._deadline();
    if (deadline === Infinity && !this.#core.rooms.size) return;
    const wait = Math.min(Math.max(0, deadline - this.#now), MAX_TIMER);
    this.#due = this.#now + wait;
    this.#timer = setTimeout(() => this.#wake({ type: "tick" }), wait);
  }

  /** Handles an input after a time in which the computer may have slept. */
  #wake(input: Input): void {
    const late = Date.now() - this.#due;
    this._handle(late > SLEPT + (hidden() ? CLAMPED : 0) ? { type: "woke" } : input);
  }

  #watch(name: string, listener: (event: { persisted?: boolean }) => void): void {
    if ((globalThis as Partial<typeof globalThis>).document) addEventListener(name, listener as () => void, { signal: this.#watching.signal });
  }

  // The sockets.

  async #open(link: number, room: string): Promise<void> {
    this.#sockets.set(link, undefined);
    const closed = (reason: string) => {
      if (!this.#sockets.delete(link)) return;
      this._handle({ type: "closed", _link: link, reason });
    };
    const why = this.#failed ? "refused" : this.#tried ? "renew" : "first";
    this.#tried = true;
    try {
      const token = await this.#options.getToken?.(why);
      if (!this.#sockets.has(link)) return;
      if (token === null) {
        this.#close("no token");
        return;
      }
      const url = new URL(this.#url);
      if (room) url.searchParams.set("room", room);
      if (this.#named) url.searchParams.set("user", this.user);
      const Socket = this.#options.WebSocket ?? (globalThis as { WebSocket?: Options["WebSocket"] }).WebSocket;
      if (!Socket) throw new TypeError("no WebSocket: see Options");
      let opened = false;
      const protocols = token === undefined ? undefined : ["roomchat.v1", `roomchat.token.${token}`];
      const socket = new Socket(url.href, protocols);
      this.#sockets.set(link, socket);
      const on = (type: string, listener: (event: SocketEvent) => void) =>
        (socket as unknown as EventSource).addEventListener(type, listener);
      on("open", () => {
        opened = true;
        this.#failed = false;
        this._handle({ type: "opened", _link: link, _tokenLife: token ? life(token) : undefined });
      });
      on("message", ({ data }) => {
        if (this.#sockets.has(link)) this._handle({ type: "frame", _link: link, _text: String(data) });
      });
      // Some runtimes demand a listener. `close` follows.
      on("error", () => undefined);
      on("close", ({ code, reason }) => {
        if (!opened) {
          this.#failed = true;
          // A service that verifies users refuses the name that this client has made up.
          if (!this.#wasOnline && this.#options.user === undefined && !this.#options.getToken) this.#named = !this.#named;
        }
        closed(opened ? `closed with ${code ?? 1006} ${reason ?? ""}`.trim() : "handshake failed");
      });
    } catch (error) {
      closed(String(error));
    }
  }
}

/** Opens a chat. The connection is made when the first room is joined. */
export function connect(url: string, options: Options = {}): Chat {
  return new Chat(url, options);
}

/** Returns how long a token is valid from now on, in milliseconds. */
function life(token: string): number | undefined {
  try {
    const part = String(token.split(".")[1]).replace(/-/g, "+").replace(/_/g, "/");
    const { exp, iat } = JSON.parse(atob(part)) as { exp?: number; iat?: number };
    // The clock of this computer may be behind that of the issuer: then the whole life of the token is a better bound.
    return exp && Math.max(0, Math.min(exp * 1000 - Date.now(), (exp - (iat ?? 0)) * 1000));
  } catch {
    return undefined;
  }
}

/** Returns a name in the form that the service accepts. */
function checked(name: string, what: string): string {
  const normal = String(name).normalize("NFC");
  if (!NAME.test(normal) || encode(normal).length > 128) {
    throw new TypeError(`the ${what} ${JSON.stringify(name)} is not valid: 1 to 64 letters, digits and -_.:`);
  }
  return normal;
}

/** Returns the name of the pair room of two users: in order of code points. */
function pair(a: string, b: string): string {
  return hex(encode(a)) < hex(encode(b)) ? `@${a}&${b}` : `@${b}&${a}`;
}

function hidden(): boolean | undefined {
  return (globalThis as { document?: { hidden: boolean } }).document?.hidden;
}

/** Returns 128 random bits. `randomUUID` exists on pages of https alone. */
function unique(): string {
  return hex(crypto.getRandomValues(new Uint8Array(16)));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
