/** Listeners by the name of their event. */

/** Removes a listener. */
export type Off = () => void;

export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();

  /** Calls `listener` at each event of this name, until the returned function is called. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Off {
    let set = this.#listeners.get(name);
    if (!set) this.#listeners.set(name, (set = new Set()));
    set.add(listener);
    return () => void set.delete(listener);
  }

  /**
   * Calls the listeners. Returns whether there is any.
   *
   * @internal
   */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): boolean {
    const set = this.#listeners.get(name);
    if (!set?.size) return false;
    for (const listener of [...set] as ((event: Events[Name]) => void)[]) guarded(() => listener(event));
    return true;
  }
}

/** Runs a listener of the application. Its error is reported, and does not stop the client. */
export function guarded(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    report(error);
  }
}

/** Reports an error that nobody handles, where the runtime reports such errors. */
export function report(error: unknown): void {
  const { reportError } = globalThis as { reportError?: (error: unknown) => void };
  if (reportError) reportError(error);
  else console.error(error);
}
