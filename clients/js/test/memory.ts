/** Prints the size of the heap before, with and after 10,000 messages and 1,000 rooms. Run by runtime.test.ts. */

import { connect } from "../src/index.js";
import { presence } from "../src/presence.js";
import { Runtime } from "./shell.js";
import type { Fields } from "./player.js";

const runtime = new Runtime((seen) => {
  const socket = () => runtime.sockets[Number(seen["connect"] ?? seen["send"]) - 1];
  if (seen["connect"]) queueMicrotask(() => socket()?.happens("open"));
  const { action, room, id } = (seen["frame"] ?? {}) as Fields;
  let answer: Fields = { type: "pong" };
  if (action === "join") answer = { type: "joined", id: id ?? null, room: room ?? null, user: "alice", epoch: "E", first: 1, head: 0, headN: 0, recovered: null, messages: [], presence: "live", count: 1 };
  if (action === "leave") answer = { type: "left", id: id ?? null, room: room ?? null };
  if (action === "history") answer = { type: "history", id: id ?? null, room: room ?? null, epoch: "E", first: 1, head: 0, headN: 0, more: false, messages: [] };
  if (action === "members") answer = { type: "members", id: id ?? null, room: room ?? null, count: 1, members: [], more: false, mode: "live", at: 1 };
  if (action) queueMicrotask(() => socket()?.happens("message", { data: JSON.stringify(answer) }));
});

const heap = async (): Promise<number> => {
  await runtime.settle();
  (globalThis as unknown as { gc(): void }).gc();
  return process.memoryUsage().heapUsed;
};

const chat = connect("ws://x/prod", { user: "alice", live: true, WebSocket: runtime.WebSocket });
chat.room("stays");
await runtime.advance(1_000);

async function rooms(count: number, messages: number): Promise<number> {
  const joined = Array.from({ length: count }, (_, index) => chat.room(`room-${index}`));
  for (const room of joined) presence(room);
  // Joins are paced: 15 a second.
  await runtime.advance(runtime.now + 200_000);
  const [first] = joined;
  for (let seq = 1; seq <= messages; seq += 1) {
    const frame = { type: "message", room: first?.name, epoch: "E", seq, n: seq, from: "bob", data: { text: `message ${seq}` }, at: seq };
    runtime.sockets.at(-1)?.happens("message", { data: JSON.stringify(frame) });
  }
  if (messages && first?.messages.length !== messages) throw new Error("the messages did not come");
  const full = await heap();
  for (const room of joined) void room.leave();
  await runtime.advance(runtime.now + 200_000);
  if (chat.rooms.size !== 1) throw new Error(`${chat.rooms.size} rooms are left`);
  return full;
}

// The first round is for code that is compiled and values that are cached once.
await rooms(100, 100);
const empty = await heap();
const full = await rooms(1_000, 10_000);
const left = await heap();
process.stdout.write(JSON.stringify({ empty, full, left }));
process.exit(0);
