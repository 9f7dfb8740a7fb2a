export { connect, Chat } from "./chat.js";
export type { ChatEvents, ChatState, Options, SocketLike, Store } from "./chat.js";
export { ChatError, Room } from "./room.js";
export type { Changed, Message, MessageFields, RoomEvents, RoomOptions, RoomState, Sent } from "./room.js";
export type { Off } from "./events.js";
export type { Saved } from "./log.js";
export type { Ack, Change, Lost, Mark, Member, Members, Position, Presence, ServiceFrame, Signal } from "./wire.js";
