/** `roomchat/presence`: the list of those who are in a room, where `connect` has `live: true`. */

import { Emitter, type Off } from "./events.js";
import type { Room } from "./index.js";
import type { Member, Members, Presence as Happened } from "./wire.js";

/** A user who is in the room. */
export interface Present {
  readonly user: string;
  /** The name to show to people, where the user's token has one. */
  readonly name?: string | undefined;
  /** The state that the user has set. */
  readonly state?: unknown;
}

/** An event of a room: a user comes, changes its state or goes; `count`: nobody is shown from now on. */
export type Happening =
  | ({ readonly event: "join" | "update" | "leave" } & Present)
  | { readonly event: "count"; readonly count: number };

/** The time after a `join` at which the members are listed, and the mean of the times after that. */
const LOOK_FIRST = 3_000;
const LOOK_EVERY = 300_000;

/** The random part of the latter, to both sides. */
const LOOK_SPREAD = 60_000;

/** A list does not undo the events of this time before it: its index follows within a moment. */
const INDEX_LAG = 5_000;

/** The wait before a user who is missing in a list is shown to have left, as for a `leave`. */
const HOLD = 10_000;

/** The number of users who have left that are remembered, so that a late event does not bring them back. */
const MAX_GONE = 1_000;

interface Known extends Present {
  /** The time of the last event, by the clock of the service. */
  readonly at: number;
  /** The last event was a `leave`. */
  readonly left: boolean;
  /** The user is shown. */
  readonly here: boolean;
  /** When the user is no longer shown. */
  readonly hideAt: number;
}

/**
 * The picture of a room, from events and lists that may be lost, doubled or late: rule 15 of PROTOCOL.md. It reads no
 * clock. `now` is the time of the client; each function returns what is to be shown.
 */
export class Picture {
  /** The users by name, those who have left included. */
  readonly known = new Map<string, Known>();
  /** When the members are to be listed. */
  lookAt = Infinity;
  readonly #chance: () => number;

  constructor(chance: () => number = Math.random) {
    this.#chance = chance;
  }

  /** Returns the next time at which something is due. */
  get deadline(): number {
    return Math.min(this.lookAt, ...[...this.known.values()].map(({ hideAt }) => hideAt));
  }

  /** The room was joined. `mode` is the field `presence` of the answer. */
  joined(now: number, mode: "live" | "count" | undefined, count = 0): Happening[] {
    if (mode === "count") return this.crowded(count);
    this.lookAt = mode ? now + LOOK_FIRST : Infinity;
    return [];
  }

  /** The room has too many connections to show who is there. */
  crowded(count: number): Happening[] {
    this.known.clear();
    this.lookAt = Infinity;
    return [{ event: "count", count }];
  }

  /** Takes an event of another user. */
  event(now: number, { event, user, at, holdMs = 0, name, state }: Happened): Happening[] {
    const known = this.known.get(user);
    const left = event === "leave";
    // At equal times a `join` counts, and not the `leave`.
    if (known && (at < known.at || (at === known.at && (left || !known.left)))) return [];
    if (!left) return this.#comes({ user, name, state }, at);
    this.#leaves(user, at, now + holdMs);
    for (const [gone, { here }] of this.known) {
      if (this.known.size <= MAX_GONE) break;
      if (!here) this.known.delete(gone);
    }
    return [];
  }

  /** Plans the next list, after one that was answered or given up. */
  looked(now: number): void {
    this.lookAt = now + LOOK_EVERY + LOOK_SPREAD * (2 * this.#chance() - 1);
  }

  /** Takes a page of the list, which begins after the user `after`, without the user itself. */
  list(now: number, list: Members, after?: string): Happening[] {
    if (list.mode !== "live") {
      const shown = this.crowded(list.count);
      // The room may become smaller.
      this.looked(now);
      return shown;
    }
    const truth = (list.at ?? 0) - INDEX_LAG;
    const shown: Happening[] = [];
    const present = new Set<string>();
    for (const member of list.members.filter(({ presence }: Member) => presence)) {
      present.add(member.user);
      if ((this.known.get(member.user)?.at ?? -1) < truth) shown.push(...this.#comes(member, truth));
    }
    const last = list.members.at(-1)?.user ?? "";
    for (const [user, { at, left, here }] of this.known) {
      // The pages are in order of code points.
      const covered = (after === undefined || before(after, user)) && (!list.more || !before(last, user));
      if (covered && at < truth && !left && !present.has(user)) this.#leaves(user, truth, now + HOLD);
      else if (at < truth && left && !here) this.known.delete(user);
    }
    if (!list.more) this.looked(now);
    return shown;
  }

  /** Hides who is due to leave. */
  due(now: number): Happening[] {
    const shown: Happening[] = [];
    for (const [user, known] of this.known) {
      if (known.hideAt > now) continue;
      this.known.set(user, { ...known, here: false, hideAt: Infinity });
      shown.push({ event: "leave", user, name: known.name });
    }
    return shown;
  }

  #comes({ user, name, state }: Present, at: number): Happening[] {
    const before = this.known.get(user);
    this.known.set(user, { user, name, state, at, left: false, here: true, hideAt: Infinity });
    const same = before && before.name === name && JSON.stringify(before.state) === JSON.stringify(state);
    if (before?.here && same) return [];
    return [{ event: before?.here ? "update" : "join", user, name, state }];
  }

  #leaves(user: string, at: number, hideAt: number): void {
    const { here = false, ...known } = this.known.get(user) ?? { user };
    this.known.set(user, { ...known, at, left: true, here, hideAt: here ? hideAt : Infinity });
  }
}

/** Returns whether a name comes before another one in order of code points. */
function before(a: string, b: string): boolean {
  const [left, right] = [[...a], [...b]];
  const at = left.findIndex((letter, index) => letter !== right[index]);
  if (at < 0) return left.length < right.length;
  return at < right.length && Number(left[at]?.codePointAt(0)) < Number(right[at]?.codePointAt(0));
}

/** The users who are in a room. Made by `presence(room)`. */
export class RoomPresence extends Emitter<{ change: Happening }> {
  /** The other users in the room, in order of their names. A new array after each change. */
  users: readonly Present[] = [];
  /** The number of connections, in a room with too many to tell who is there. */
  count: number | undefined;
  readonly #picture = new Picture();
  readonly #offs: Off[];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(readonly room: Room) {
    super();
    const { chat } = room;
    this.#offs = [
      room.on("joined", ({ presence, count }) => this.#show(this.#picture.joined(Date.now(), presence, count))),
      room.on("presence", (event) => {
        if (event.event === "count") this.#show(this.#picture.crowded(event.count));
        else if (event.user !== chat.user) this.#show(this.#picture.event(Date.now(), event));
      }),
      room.on("change", () => (room.state === "left" || room.state === "denied") && this.stop()),
    ];
    // The room may have been joined before.
    if (room.state === "live" || room.state === "behind") this.#show(this.#picture.joined(Date.now(), "live"));
  }

  /** Calls `listener` each time that a user comes, goes or changes its state, until the returned function is called. */
  readonly subscribe = (listener: (happening: Happening) => void): Off => this.on("change", listener);

  /** Stops listening. A room that is left stops by itself. */
  stop(): void {
    made.delete(this.room);
    for (const off of this.#offs) off();
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const { room } = this;
    for (let after: string | undefined, more = true; more; ) {
      const page = await room.members({ state: true, probe: true, ...(after !== undefined && { after }) });
      const members = page.members.filter(({ user }) => user !== room.chat.user);
      this.#show(this.#picture.list(Date.now(), { ...page, members }, after));
      more = page.more && page.mode === "live";
      after = page.members.at(-1)?.user;
    }
  }

  #show(happenings: readonly Happening[]): void {
    clearTimeout(this.#timer);
    const wait = Math.max(0, this.#picture.deadline - Date.now());
    if (wait < Infinity) this.#timer = setTimeout(() => this.#due(), wait);
    if (!happenings.length) return;
    const here = [...this.#picture.known.values()].filter(({ here }) => here);
    this.users = here.map(({ user, name, state }) => ({ user, name, state })).sort((a, b) => (before(a.user, b.user) ? -1 : 1));
    for (const happening of happenings) {
      this.count = happening.event === "count" ? happening.count : undefined;
      this._emit("change", happening);
    }
  }

  #due(): void {
    const now = Date.now();
    if (this.#picture.lookAt <= now) {
      this.#picture.lookAt = Infinity;
      // The chat asks five times. Then the next list, or the next `join`, finds what this one did not.
      this.#look().catch(() => this.#picture.looked(Date.now()));
    }
    this.#show(this.#picture.due(now));
  }
}

const made = new WeakMap<Room, RoomPresence>();

/**
 * Returns who is in a room: the same object for the same room, until it is left. The chat must have `live: true`, or
 * `room.setState` must have been called.
 */
export function presence<T>(room: Room<T>): RoomPresence {
  const any = room as unknown as Room;
  const here = made.get(any) ?? new RoomPresence(any);
  made.set(any, here);
  return here;
}
