/** A room of the state machine: the position in its log, and the messages that wait for their turn. */

import type { Change, Entry, Event, Position } from "./wire.js";
import { Retry } from "./retry.js";

/** The number of messages that may wait for earlier ones. Beyond it they are dropped and read from the log later. */
const MAX_HELD = 1000;

/** The entries that are shown, by their kind. One of another kind takes its number, and is not shown. */
const SHOWN = ["message", "edit", "delete", "react"];

/** A message of the user, or a change of one, that is not known to be in the log. */
export class Outgoing {
  readonly _retry = new Retry();
  constructor(
    readonly id: string,
    /** The content as JSON: each try sends the same text. */
    readonly json: string,
    /** The message that is changed, and how. */
    readonly change?: Change,
    /** The position at which the message was first sent: an earlier copy of it can only come later. */
    public after?: Position,
  ) {}

  /** Returns the number after which the service searches for an earlier copy. It is the same at every try. */
  _searchAfter(here: Position): number {
    this.after ??= here;
    // In an epoch that began since then, an earlier copy may be anywhere.
    if (this.after.epoch !== here.epoch) this.after = { epoch: here.epoch, seq: 0 };
    return this.after.seq;
  }
}

/** The stored state of a room. */
export interface Saved {
  /** The client's position. */
  readonly position?: Position | undefined;
  /** Messages that were not acknowledged, in order. */
  readonly outbox: readonly {
    readonly id: string;
    readonly json: string;
    readonly change?: Change | undefined;
    readonly after?: Position | undefined;
  }[];
}

/** A room that the user wants to be in, or is about to leave. */
export class Log {
  /** Everything up to here was shown; absent before the first `joined`. */
  _place: Position | undefined;
  /** The log no longer holds what follows `place`. */
  lost = false;
  /** True once a `join` of the room was answered. */
  _entered = false;
  /** The number of the oldest message shown since the client has its position. */
  _oldest = 0;
  /** The log is to be read once more, whether or not messages are known to be missing. */
  _check = false;
  /** The request for the messages after the position. */
  _fill: { readonly id: string; readonly _retry: Retry } | undefined;
  /** The missing messages were left out of an answer for its size, so they cannot be on their way. */
  _cutShort = false;
  /** Messages not known to be in the log. Only the first one is sent: its `ack` lets the next one go. */
  outbox: Outgoing[] = [];
  /** The user has left the room, and the service is to be told once everything in it is answered. */
  _leaving = false;
  /** True if the position or the outbox has changed since the last save. */
  _dirty = false;
  /** The state of the user in the room, for the others. */
  state?: unknown;
  /** When to say that the user is there, since others were told that it has left. */
  _healAt = Infinity;
  /** The time from which that may be said once more. */
  _healed = 0;
  #held = new Map<number, Entry>();
  /** The highest number known to exist in the epoch of the position. */
  #target = 0;

  constructor(
    readonly name: string,
    /** The number of messages shown on entering. */
    readonly history: number,
    saved?: Saved,
  ) {
    if (!saved) return;
    this.outbox = saved.outbox.map(({ id, json, change, after }) => new Outgoing(id, json, change, after));
    if (!saved.position) return;
    this._place = saved.position;
    this.#target = saved.position.seq;
    this._oldest = saved.position.seq + 1;
  }

  /** Returns what a store keeps. */
  _saved(): Saved {
    return { position: this._place, outbox: this.outbox.map(({ id, json, change, after }) => ({ id, json, change, after })) };
  }

  /** Returns the position, unless it is unknown or lost. */
  at(): Position | undefined {
    return this.lost ? undefined : this._place;
  }

  /** Returns whether messages are known to exist that were not shown. */
  _behind(): boolean {
    const here = this.at();
    return here !== undefined && here.seq < this.#target;
  }

  /** Notes that the log of an epoch goes at least up to a number. */
  _reaches(epoch: string, seq: number): void {
    if (this.at()?.epoch === epoch && seq > this.#target) this.#target = seq;
  }

  /** Takes a message in, and shows every message whose turn has come. Returns false for one of another epoch. */
  _take(entry: Entry, shown: Event[]): boolean {
    const here = this.at();
    if (here) {
      if (here.epoch !== entry.epoch) return false;
      if (entry.seq <= here.seq) return true;
      if (entry.seq > this.#target) this.#target = entry.seq;
    }
    if (this.#held.size < MAX_HELD) this.#held.set(entry.seq, entry);
    this.#drain(shown);
    return true;
  }

  /** Sets the position, for the first time or after a loss. */
  _start(from: Position, shown: Event[]): void {
    const after = this._place;
    if (this.lost && after) {
      const missing = after.epoch === from.epoch ? Math.max(0, from.seq - after.seq) : undefined;
      shown.push({ type: "lost", room: this.name, after, resumed: from, missing });
    }
    this.#target = from.seq;
    for (const [seq, entry] of this.#held) {
      if (entry.epoch !== from.epoch || seq <= from.seq) this.#held.delete(seq);
      else if (seq > this.#target) this.#target = seq;
    }
    this._oldest = from.seq + 1;
    this._fill = undefined;
    this._place = from;
    this.lost = false;
    this._dirty = true;
    this.#drain(shown);
  }

  /** Notes that the log does not hold what follows the position. */
  _lose(): void {
    if (!this.at()) return;
    this.lost = true;
    this._fill = undefined;
    this._cutShort = false;
  }

  #drain(shown: Event[]): void {
    let here = this.at();
    if (!here) return;
    let entry;
    while ((entry = this.#held.get(here.seq + 1))) {
      this.#held.delete(entry.seq);
      here = { epoch: here.epoch, seq: entry.seq };
      const type = (entry.kind ?? "message") as "message";
      if (SHOWN.includes(type)) shown.push({ ...entry, type, room: this.name });
    }
    if (here !== this._place) {
      this._place = here;
      this._dirty = true;
    }
    this._rest();
  }

  /** Asks for nothing more, once nothing is missing and the log need not be read once more. */
  _rest(): void {
    if (this._behind()) return;
    this._cutShort = false;
    if (!this._check) this._fill = undefined;
  }
}
