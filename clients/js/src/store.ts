/** `roomchat/store`: positions and unsent messages in the storage of a browser. */

import type { Store } from "./chat.js";
import { report } from "./events.js";
import type { Saved } from "./log.js";

/**
 * Returns a store in `sessionStorage` or `localStorage`. `sessionStorage` belongs to one tab, so two tabs of a user do
 * not overwrite each other.
 *
 * @param key names the user and the service, since the messages of one user must not be sent by another
 */
export function webStore(
  storage: { getItem(key: string): string | null; setItem(key: string, value: string): void; removeItem(key: string): void },
  key: string,
): Store {
  const name = (room: string) => `roomchat:${key}:${room}`;
  return {
    load(room) {
      try {
        const saved = JSON.parse(storage.getItem(name(room)) ?? "null") as Saved | null;
        return saved && Array.isArray(saved.outbox) ? saved : undefined;
      } catch {
        return undefined;
      }
    },
    save(room, saved) {
      try {
        if (saved) storage.setItem(name(room), JSON.stringify(saved));
        else storage.removeItem(name(room));
      } catch (error) {
        // The storage is full or forbidden. The chat works without it.
        report(error);
      }
    },
  };
}
