/** `roomchat/direct`: conversations of two and unread messages, where the service verifies users. */

import type { Chat } from "./chat.js";
import type { Heads, Marks, Page, ServiceFrame } from "./wire.js";

/** Returns the users with whom the user has a pair room, the newest conversation first. `chat.to(user)` opens one. */
export async function conversations(chat: Chat): Promise<string[]> {
  const users = new Set<string>();
  for (let before: number | undefined, more = true; more; ) {
    const page = (await chat.request({ action: "history", room: `@${chat.user}`, before, limit: 100 })) as Page & ServiceFrame;
    for (const { data } of [...page.messages].reverse()) users.add((data as { user: string }).user);
    more = page.more;
    before = page.messages[0]?.seq;
  }
  return [...users];
}

/** Returns the number of unread messages of each room, which need not be joined. */
export async function unread(chat: Chat, rooms: readonly string[]): Promise<Map<string, number>> {
  let marks: Marks["marks"] = {};
  for (let after: string | undefined, more = true; more; ) {
    const page = (await chat.request({ action: "marks", after })) as Marks & ServiceFrame;
    marks = { ...marks, ...page.marks };
    more = page.more ?? false;
    after = Object.keys(page.marks).at(-1);
  }
  const counts = new Map<string, number>();
  for (let from = 0; from < rooms.length; from += 50) {
    const { heads } = (await chat.request({ action: "heads", rooms: rooms.slice(from, from + 50) })) as Heads & ServiceFrame;
    for (const [room, head] of Object.entries(heads)) {
      const mark = marks[room];
      counts.set(room, head ? head.n - (mark?.epoch === head.epoch ? mark.n : 0) : 0);
    }
  }
  return counts;
}

/** Stops, or with `false` allows, messages of another user in the pair room of the two. */
export async function block(chat: Chat, user: string, blocked = true): Promise<void> {
  await chat.request({ action: blocked ? "block" : "unblock", user });
}
