/** Listeners by the name of their event. */

/** Removes a listener. */
export type Off = () => void;

export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();

  /** Calls `listener` at each event of this name, until the returned function is called. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Off {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    set.add(listener);
    return () => void set.delete(listener);
  }

  /**
   * Calls the listeners. Returns whether there is any.
   *
   * @internal
   */
  _emit<Name extends keyof Events>(name: Name, event: Events[Name]): boolean {
    const listeners = [...(this.#listeners.get(name) ?? [])] as ((event: Events[Name]) => void)[];
    for (const listener of listeners) {
      // An error of a listener is reported, and does not stop the client.
      try {
        listener(event);
      } catch (error) {
        report(error);
      }
    }
    return listeners.length > 0;
  }
}

/** Reports an error that nobody handles, where the runtime reports such errors. */
export function report(error: unknown): void {
  const { reportError = console.error } = globalThis as { reportError?: (error: unknown) => void };
  reportError(error);
}

/** Runs the newest action of each key, at most once in a time. */
export class Throttle {
  readonly #waiting = new Map<string, { _next?: () => void }>();

  _run(key: string, ms: number, action: () => void): void {
    const running = this.#waiting.get(key);
    if (running) {
      running._next = action;
      return;
    }
    action();
    const sent: { _next?: () => void } = {};
    this.#waiting.set(key, sent);
    setTimeout(() => {
      this.#waiting.delete(key);
      if (sent._next) this._run(key, ms, sent._next);
    }, ms);
  }
}
