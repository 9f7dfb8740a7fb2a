/** Plays scenarios against the whole client, in a runtime whose clock and sockets are those of the test. */

import { connect, type Change, type Chat, type ChatError, type Options, type Room } from "../src/index.js";
import { presence } from "../src/presence.js";
import { Script, type Fields, type Json } from "./player.js";

const real = { setTimeout, clearTimeout, now: Date.now, random: Math.random };

/** The time of the client when a scenario begins. */
const BEGIN = 1_800_000_000_000;

/** A runtime whose time passes only in `sleep` and `advance`. While it is in use, no other code may run. */
export class Runtime {
  /** Milliseconds from the beginning. */
  now = 0;
  readonly sockets: Socket[] = [];
  readonly #timers = new Map<number, { readonly at: number; readonly run: () => void }>();
  #made = 0;

  constructor(readonly output: (seen: Fields) => void = () => undefined) {
    Date.now = () => BEGIN + this.now;
    Math.random = () => 0.5;
    const later = (run: () => void, wait = 0) => {
      this.#timers.set((this.#made += 1), { at: this.now + Math.max(1, wait), run });
      return this.#made;
    };
    globalThis.setTimeout = later as unknown as typeof setTimeout;
    globalThis.clearTimeout = ((timer: number) => void this.#timers.delete(timer)) as typeof clearTimeout;
  }

  /** Gives the runtime of the test back. */
  end(): void {
    Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
    Date.now = real.now;
    Math.random = real.random;
  }

  /** Returns the constructor of sockets. */
  get WebSocket(): NonNullable<Options["WebSocket"]> {
    const runtime = this;
    return class extends Socket {
      constructor(url: string) {
        super(runtime, url);
      }
    };
  }

  /** Lets promises settle. */
  async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Lets the time pass up to `until`, and runs the timers. `clamp`: at most one in so many milliseconds, as in the background. */
  async advance(until: number, clamp = 0): Promise<void> {
    for (;;) {
      await this.settle();
      const [first] = [...this.#timers].sort(([, a], [, b]) => a.at - b.at);
      if (!first || first[1].at > until) break;
      const [timer, { at, run }] = first;
      this.#timers.delete(timer);
      this.now = Math.max(this.now, clamp ? Math.ceil(at / clamp) * clamp : at);
      run();
    }
    this.now = Math.max(this.now, until);
  }

  /** Lets the time pass without timers, as while a computer sleeps. */
  sleep(ms: number): void {
    this.now += ms;
  }
}

/** A socket of the runtime. */
export class Socket {
  readonly link: number;
  readonly #listeners = new Map<string, (event: object) => void>();

  constructor(
    readonly runtime: Runtime,
    readonly url: string,
  ) {
    this.link = runtime.sockets.push(this);
    runtime.output({ connect: this.link, room: new URL(url).searchParams.get("room") ?? "" });
  }

  readonly addEventListener = (type: string, listener: (event: object) => void): void => {
    this.#listeners.set(type, listener);
  };

  send(text: string): void {
    this.runtime.output({ send: this.link, frame: JSON.parse(text) as Json });
  }

  close(): void {
    this.runtime.output({ close: this.link });
  }

  /** Something happens on the socket. */
  happens(type: "open" | "message" | "close", event: object = {}): void {
    this.#listeners.get(type)?.(event);
  }
}

/** Plays a scenario. Returns where the client leaves it, or `undefined` if it keeps it. */
export async function play(text: string, chance = 0.5): Promise<string | undefined> {
  const script = new Script(text);
  let failure: unknown;
  const runtime = new Runtime((seen) => {
    // A client may read at the beginning how far its user has read.
    if ((seen["frame"] as Fields | undefined)?.["action"] === "marks") return;
    try {
      script.output(JSON.parse(JSON.stringify(seen)) as Fields);
    } catch (error) {
      failure ??= error;
    }
  });
  Math.random = () => chance;
  try {
    const { about } = script;
    const chat = connect("ws://x/prod", {
      ...(about["marks"] ? { getToken: () => "token" } : { user: String(about["user"]) }),
      live: about["presence"] === true,
      WebSocket: runtime.WebSocket,
    });
    const player = new Player(runtime, chat, about);
    chat.on("state", (state) => state === "closed" && runtime.output({ ends: true }));
    for (const room of about["rooms"] as string[]) player.watch(chat.room(room, { history: about["history"] as number }));
    const advance = async (until: number) => {
      // Step by step, so that the script knows the time of each output.
      while (runtime.now < until && !failure) {
        script.now = Math.min(until, runtime.now + 1);
        await runtime.advance(script.now);
      }
      if (failure) throw failure as Error;
      script.reached(until);
    };
    await runtime.settle();
    for (const [at, input] of script.inputs) {
      await advance(at);
      player.input(script.filled(input) as Fields);
      await runtime.settle();
    }
    await advance(script.end);
    script.over();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    runtime.end();
  }
}

class Player {
  readonly #watched = new Set<Room>();

  constructor(
    readonly runtime: Runtime,
    readonly chat: Chat,
    readonly about: Fields,
  ) {}

  /** Shows what happens in a room. */
  watch(room: Room): Room {
    if (this.#watched.has(room)) return room;
    this.#watched.add(room);
    const show = (type: string, event: object) => this.runtime.output({ show: { ...event, type, room: room.name } });
    room.on("message", (message) => {
      show("message", message);
      // The user reads everything.
      if (this.about["marks"]) room.mark();
    });
    room.on("lost", (lost) => show("lost", lost));
    room.on("changed", (change) => show("changed", change));
    let typists = room.typists;
    room.subscribe(() => {
      if (room.typists.join() !== typists.join()) show("typing", { users: [...room.typists] });
      typists = room.typists;
    });
    if (this.about["presence"]) presence(room).subscribe((happening) => show("presence", happening));
    return room;
  }

  input(input: Fields): void {
    const socket = (name: string) => this.runtime.sockets[Number(input[name]) - 1];
    const text = input["text"];
    if (input["opened"]) socket("opened")?.happens("open");
    else if (input["closed"]) socket("closed")?.happens("close", { code: 1006 });
    else if (input["frame"]) socket("frame")?.happens("message", { data: typeof text === "string" ? text : JSON.stringify(text) });
    else this.#command(input["command"] as Fields);
  }

  #command({ action, room: name, to, id, kind, data = null, ...fields }: Fields): void {
    const options = { history: this.about["history"] as number };
    const room = this.watch(typeof to === "string" ? this.chat.to(to, options) : this.chat.room(String(name), options));
    const failed = ({ code, retrying }: ChatError) => {
      this.runtime.output({ show: { type: "error", id: String(id), room: room.name, name: code, retrying } });
    };
    if (action === "publish") room.send(data, { id: String(id) }).done.catch(failed);
    else if (action === "leave") void room.leave();
    else if (action === "signal" && kind === "typing") room.typing();
    else if (action === "signal") room.signal(String(kind), data);
    else {
      // The methods of a room give an id of their own; the scenario gives one.
      const change = { kind: action, on: action === "react" ? true : undefined, ...fields } as unknown as Change;
      this.chat._send(room.name, data, String(id), change).done.catch(failed);
    }
  }
}
