/** The frames of PROTOCOL.md, and the events of the state machine. */

/** A place in the log of a room: everything up to number `seq` of this epoch has been seen. */
export interface Position {
  /** The name of the epoch. A log that was trimmed to nothing begins a new epoch. */
  readonly epoch: string;
  /** The number of a message in this epoch, or 0 before the first one. */
  readonly seq: number;
}

/** The frame `message`: an entry of a room's log. */
export interface Entry {
  readonly type?: string;
  /** The end of the log when the page was read that this message came in. */
  head?: number;
  readonly room?: string;
  readonly seq: number;
  readonly epoch: string;
  /** The number of ordinary messages of the epoch up to and including this one. */
  readonly n: number;
  /** The id that the sender gave to the message. */
  readonly id?: string | null;
  /** Absent for an ordinary message. */
  readonly kind?: string;
  readonly from: string;
  /** Absent in a message that was deleted. */
  readonly data?: unknown;
  /** The number of the message that an `edit`, `delete` or `react` changes. */
  readonly target?: number;
  /** The reaction of a `react`. */
  readonly key?: string;
  /** False in a `react` that takes the reaction back. */
  readonly on?: boolean;
  /** The reason of a `delete`. */
  readonly reason?: string;
  /** The last edit of the message. */
  readonly edited?: { readonly at: number; readonly seq: number };
  /** The deletion of the message. */
  readonly deleted?: { readonly at: number; readonly by: string; readonly reason?: string };
  /** The reactions to the message by key: the number of users, and whether this user is among them. */
  readonly reactions?: { readonly [key: string]: { readonly count: number; readonly mine: boolean } };
  /** The number of connections, in a room with too many for presence. */
  readonly count?: number;
  /** The time when the service received the message, in milliseconds since 1970. */
  readonly at: number;
  /** The same in seconds. */
  readonly received?: number;
}

/** The answer to a `publish`: the message is stored. */
export interface Ack {
  readonly id?: string;
  readonly room: string;
  readonly epoch: string;
  /** The number of the message in its room. */
  readonly seq: number;
  /** The number of ordinary messages of the epoch up to and including this one. */
  readonly n: number;
  /** The time when the service received the message, in milliseconds since 1970. */
  readonly at: number;
  /** True if an earlier try had stored the message already. */
  readonly duplicate?: boolean;
  /** The stored data, if they differ from those of the frame: a review or a later change has replaced them. */
  readonly data?: unknown;
  /** The number of connections for which API Gateway accepted the message. Absent, like the next two, if `paced`. */
  readonly delivered?: number;
  /** The number of connections that turned out to be closed. */
  readonly gone?: number;
  /** The number of connections that did not get the message; they find it in the log. */
  readonly failed?: number;
  /** True if the room is so busy that the message is delivered a moment later, with others. */
  readonly paced?: boolean;
  /** True if not all members of the room could be read: others may have missed the message, too. */
  readonly partial?: boolean;
}

/** An entry that changes another message, as it is sent. */
export interface Change {
  readonly kind: "edit" | "delete" | "react";
  /** The number of the message. */
  readonly target: number;
  readonly key?: string;
  readonly on?: boolean;
  readonly reason?: string | undefined;
}

/** The answer to a `join`. */
export interface Joined {
  readonly id?: string;
  readonly room: string;
  readonly user?: string;
  readonly epoch: string;
  readonly first: number;
  readonly head: number;
  readonly headN: number;
  readonly recovered: boolean | null;
  readonly messages: readonly Entry[];
  readonly more?: boolean;
  /** `count` in a room with too many connections for presence; absent if presence was not asked for. */
  readonly presence?: "live" | "count";
  /** The number of connections in the room, with `presence`. */
  readonly count?: number;
}

/** The answer to a `history`: a page of the log. */
export interface Page {
  readonly id?: string;
  readonly room: string;
  readonly epoch: string | null;
  readonly first: number;
  readonly head: number;
  readonly headN: number;
  readonly messages: readonly Entry[];
  readonly more: boolean;
}

/** A user in a room. */
export interface Member {
  readonly user: string;
  /** The number of the user's connections in the room. */
  readonly connections: number;
  /** True if the user is present, in an answer with `mode`. */
  readonly presence?: boolean;
  /** The name to show to people. */
  readonly name?: string;
  /** The state that the user has set. */
  readonly state?: unknown;
  /** When the oldest of its present connections connected, in milliseconds since 1970. */
  readonly since?: number;
}

/** The answer to a `members`: users of a room, in order of their names. */
export interface Members {
  readonly id?: string;
  readonly room: string;
  /** The number of connections in the room. */
  readonly count: number;
  readonly members: readonly Member[];
  /** True if there are more users than these. */
  readonly more: boolean;
  /** True if the room has more connections than the service counts. */
  readonly partial?: boolean;
  /** `count` in a room with too many connections for presence; absent if states were not asked for. */
  readonly mode?: "live" | "count";
  /** The time of the list, with `mode`. */
  readonly at?: number;
}

/** The position up to which a user has read a room. */
export interface Mark extends Position {
  /** The `n` of the last message that was read. */
  readonly n: number;
}

/** The answer to a `marks`: the marks of the user by room. */
export interface Marks {
  readonly id?: string;
  readonly marks: { readonly [room: string]: Mark & { readonly at: number } };
  readonly more?: boolean;
}

/** The answer to a `heads`: where the logs of rooms end; `null` where nothing is stored. */
export interface Heads {
  readonly id?: string;
  readonly heads: { readonly [room: string]: { readonly epoch: string; readonly head: number; readonly n: number } | null };
}

/** A signal of another connection in a room: for this moment, not stored. */
export interface Signal {
  readonly room: string;
  readonly kind: string;
  /** The name of the user who sent it. */
  readonly from: string;
  readonly data?: unknown;
  /** When the service received it, in milliseconds since 1970. */
  readonly at: number;
}

/** The frame `error`. */
export interface Failure {
  readonly id?: string;
  readonly action?: string;
  readonly code: number;
  readonly name: string;
  readonly message: string;
  readonly temporary: boolean;
  readonly retryAfterMs?: number;
  /** The right that is missing. */
  readonly right?: string;
  /** The end of a ban, in seconds since 1970. */
  readonly until?: number;
  readonly reason?: string;
  /** True if the user may read in the room and not write. */
  readonly mute?: boolean;
  /** With `internal`: leads an operator to the log lines. */
  readonly requestId?: string;
}

/** A moderator has removed the user from a room. */
export interface Removed {
  readonly room: string;
  readonly reason: string;
  readonly by: string;
  /** The end of a ban, in seconds since 1970. */
  readonly until?: number;
}

/** The service closes the connection. */
export interface Bye {
  readonly reason: string;
  readonly reconnect: "never" | "later" | "now";
  readonly retryAfterMs?: number;
}

/** The answer to a `leave`. */
export interface Left {
  readonly id?: string;
  readonly room: string;
}

/** A user of a room is there, has changed its state, or has left. */
export interface Presence {
  readonly room: string;
  readonly event: "join" | "update" | "leave";
  readonly user: string;
  readonly connections: number;
  /** The time of the event, in milliseconds since 1970. */
  readonly at: number;
  /** The name to show to people. */
  readonly name?: string;
  /** The state that the user has set. */
  readonly state?: unknown;
  /** The time for which a `leave` is to be held back, in milliseconds. */
  readonly holdMs?: number;
  /** The number of connections in the room. */
  readonly count: number;
}

/** A frame of the service. */
export type ServiceFrame =
  | ({ readonly type: "message"; readonly room: string } & Entry)
  /** Several messages of a busy room. */
  | { readonly type: "messages"; readonly room: string; readonly epoch: string; readonly messages: readonly Entry[] }
  | ({ readonly type: "ack" } & Ack)
  /** The answer to a `mark`. */
  | { readonly type: "ack"; readonly id?: string; readonly room: string; readonly at: number }
  /** The answer to a `block` or `unblock`. */
  | { readonly type: "ack"; readonly id?: string; readonly user: string; readonly at: number }
  | ({ readonly type: "joined" } & Joined)
  | ({ readonly type: "left" } & Left)
  | ({ readonly type: "history" } & Page)
  | ({ readonly type: "members" } & Members)
  | ({ readonly type: "signal" } & Signal)
  | ({ readonly type: "presence" } & Presence)
  | ({ readonly type: "heads" } & Heads)
  | ({ readonly type: "marks" } & Marks)
  | ({ readonly type: "error" } & Failure)
  | ({ readonly type: "removed" } & Removed)
  | ({ readonly type: "bye" } & Bye)
  /** The answer to a moderator. */
  | {
      readonly type: "moderated";
      readonly id?: string;
      readonly action: string;
      readonly room: string;
      readonly user: string;
      readonly connections: number;
      readonly until?: number;
    }
  | { readonly type: "pong" };

/** A frame as it is read. */
export type Frame =
  | ServiceFrame
  | { readonly type: "gateway"; readonly _words: unknown };

/** The largest frame that API Gateway accepts, in bytes. It closes the connection on a larger one. */
export const MAX_FRAME = 32 * 1024;

/**
 * Reads a frame.
 *
 * @throws if the text is not a JSON object.
 */
export function read(text: string): Frame {
  const frame = JSON.parse(text) as Record<string, unknown> | null;
  if (frame?.constructor !== Object) throw new Error();
  const { type, message } = frame;
  // API Gateway's own frames have no type.
  if (typeof type !== "string") return { type: "gateway", _words: message };
  if (type === "joined" || type === "history") {
    for (const entry of (frame["messages"] ??= []) as Entry[]) entry.head = Number(frame["head"]);
  }
  return frame as Frame;
}

/** An event of the state machine. */
export type Event =
  /** A message is changed. */
  | ({ readonly type: "edit" | "delete" | "react"; readonly room: string } & Entry)
  | { readonly type: "connected"; readonly renewed: boolean }
  | { readonly type: "disconnected"; readonly reason: string; readonly retryInMs?: number }
  | {
      readonly type: "joined";
      readonly room: string;
      readonly epoch: string;
      readonly first: number;
      readonly head: number;
      readonly headN: number;
      readonly recovered: boolean | null;
      readonly presence?: "live" | "count";
      readonly count?: number;
    }
  | { readonly type: "left"; readonly room: string }
  | ({ readonly type: "message"; readonly room: string } & Entry)
  | ({ readonly type: "ack" } & Ack)
  | ({ readonly type: "lost"; readonly room: string } & Lost)
  | { readonly type: "filled"; readonly room: string; readonly count: number }
  /** The answer to an `ask`. */
  | { readonly type: "answer"; readonly id: string; readonly frame: ServiceFrame }
  /** A message in a pair room that the user has not opened. */
  | { readonly type: "direct"; readonly room: string }
  /** The service wants this client no more. */
  | { readonly type: "bye"; readonly reason: string }
  | ({ readonly type: "signal" } & Signal)
  | ({ readonly type: "presence" } & Presence)
  | { readonly type: "denied"; readonly room: string; readonly name: string; readonly message: string }
  | {
      readonly type: "error";
      readonly id?: string | undefined;
      readonly room?: string | undefined;
      readonly name: string;
      readonly message: string;
      readonly retrying: boolean;
    };

/** Messages of a room are lost: its log no longer holds what follows the last message shown. */
export interface Lost {
  /** The position of the last message shown. */
  readonly after: Position;
  /** The position from which the client goes on. */
  readonly resumed: Position;
  /** The number of messages between the two; absent if they are of different epochs. */
  readonly missing?: number | undefined;
}
