/** Timers of frames: the first try, and the tries after it. All times are milliseconds. */

/** The longest first wait. */
const BASE = 500;

/** The longest wait of all. */
const CAP = 30_000;

/** Rounds a time up to whole milliseconds, as timers do. */
export function whole(ms: number): number {
  return Math.ceil(ms - 1e-6);
}

/**
 * Returns the wait before try number `attempt`: a random time up to a limit that doubles with each try, so that many
 * clients that lost the service at the same moment do not return at the same moment. `chance` is random, from 0 to 1.
 */
export function fullJitter(chance: number, attempt: number): number {
  return whole(Math.min(BASE * 2 ** attempt, CAP) * chance);
}

/** The present time, and the next time at which there is something to do. */
export class Clock {
  _next = Infinity;
  constructor(
    readonly now: number,
    /** The time after which a frame without an answer is sent again. */
    readonly _ackTimeout: number,
  ) {}

  /** Returns whether the time has come. If not, the core asks to be called at that time, if there is one. */
  _due(at = Infinity): boolean {
    if (at <= this.now) return true;
    if (at < this._next) this._next = at;
    return false;
  }
}

/** The number of frames of an action that a connection sends at once: less than the service accepts. */
const PACE_BURST = 40;

/** The time between two further frames of an action: 15 a second. */
const PACE = 1000 / 15;

/** The pace of a connection's frames of one action. The service drops frames beyond its limit without an answer. */
export class Pace {
  /** The time from which `PACE_BURST` frames may be sent at once again. */
  #fullAt = 0;

  /** Returns whether a further frame may be sent now, and counts it then. */
  _take(clock: Clock): boolean {
    const fullAt = Math.max(this.#fullAt, clock.now);
    if (!clock._due(whole(fullAt - PACE * (PACE_BURST - 1)))) return false;
    this.#fullAt = fullAt + PACE;
    return true;
  }

  /** Sends nothing until then. */
  _pause(until: number): void {
    until += PACE * (PACE_BURST - 1);
    if (until > this.#fullAt) this.#fullAt = until;
  }
}

/** The timer of a frame that is sent until it is answered. */
export class Retry {
  _attempt = 0;
  /** The connection on which the frame was sent and may still be answered. */
  #on: number | undefined;
  #due: number;

  constructor(due = 0) {
    this.#due = due;
  }

  /** Returns whether the frame is due, and the pace lets it go now. Each `true` counts as a try. */
  send(clock: Clock, link: number, pace?: Pace): boolean {
    if (!clock._due(this.#due) || pace?._take(clock) === false) return false;
    this.#on = link;
    this._attempt += 1;
    // A slow service would only become slower by the same frame at the same pace.
    this.#due = clock.now + clock._ackTimeout * Math.min(this._attempt, 4);
    clock._due(this.#due);
    return true;
  }

  /** Puts the next try off, as the service asks to. */
  _later(now: number, chance: number, atLeast = 0): void {
    this.#on = undefined;
    this.#due = now + Math.max(fullJitter(chance, this._attempt), atLeast);
  }

  /** Brings the next try forward: API Gateway failed to answer a frame of this connection, perhaps this one. */
  _perhapsFailed(now: number, chance: number, link: number): void {
    if (this.#on === link) this.#due = Math.min(this.#due, now + fullJitter(chance, this._attempt));
  }

  /** Makes the frame due at once if it was sent on this connection, which can no longer answer it. */
  _closed(now: number, link: number): void {
    if (this.#on !== link) return;
    this.#on = undefined;
    this.#due = now;
  }
}
