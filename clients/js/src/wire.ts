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
  readonly seq: number;
  readonly epoch: string;
  /** The id that the sender gave to the message. */
  readonly id?: string | null;
  /** Absent for an ordinary message. */
  readonly kind?: string;
  readonly from: string;
  readonly data: unknown;
  /** The time when the service received the message, in milliseconds since 1970. */
  readonly at: number;
}

/** The answer to a `publish`: the message is stored. */
export interface Ack {
  readonly id?: string;
  readonly room: string;
  readonly epoch: string;
  /** The number of the message in its room. */
  readonly seq: number;
  /** The time when the service received the message, in milliseconds since 1970. */
  readonly at: number;
  /** True if an earlier try had stored the message already. */
  readonly duplicate?: boolean;
  /** The number of connections for which API Gateway accepted the message. */
  readonly delivered: number;
  /** The number of connections that turned out to be closed. */
  readonly gone: number;
  /** The number of connections that did not get the message; they find it in the log. */
  readonly failed: number;
}

/** The answer to a `join`. */
export interface Joined {
  readonly id?: string;
  readonly room: string;
  readonly user?: string;
  readonly epoch: string;
  readonly first: number;
  readonly head: number;
  readonly recovered: boolean | null;
  readonly messages: readonly Entry[];
  readonly more?: boolean;
}

/** The answer to a `history`: a page of the log. */
export interface Page {
  readonly id?: string;
  readonly room: string;
  readonly epoch: string | null;
  readonly first: number;
  readonly head: number;
  readonly messages: readonly Entry[];
  readonly more: boolean;
}

/** A user in a room. */
export interface Member {
  readonly user: string;
  /** The number of the user's connections in the room. */
  readonly connections: number;
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
  readonly name: string;
  readonly message: string;
  readonly temporary: boolean;
  readonly retryAfterMs?: number;
}

/** The answer to a `leave`. */
export interface Left {
  readonly id?: string;
  readonly room: string;
}

/** A frame of the service. */
export type Frame =
  | ({ readonly type: "message"; readonly room: string } & Entry)
  | ({ readonly type: "ack" } & Ack)
  | ({ readonly type: "joined" } & Joined)
  | ({ readonly type: "left" } & Left)
  | ({ readonly type: "history" } & Page)
  | ({ readonly type: "members" } & Members)
  | ({ readonly type: "signal" } & Signal)
  | ({ readonly type: "error" } & Failure)
  | { readonly type: "pong" }
  | { readonly type: "gateway"; readonly words: string }
  | { readonly type: "unknown" };

/** The largest frame that API Gateway accepts, in bytes. It closes the connection on a larger one. */
export const MAX_FRAME = 32 * 1024;

/** The fields that the state machine relies on, by the type of the frame: `s` a string, `n` a number, `l` a list. */
const NEEDED: Record<string, Record<string, "s" | "n" | "l">> = {
  message: { room: "s", seq: "n" },
  ack: { room: "s", epoch: "s", seq: "n" },
  joined: { room: "s", epoch: "s" },
  left: { room: "s" },
  history: { room: "s" },
  members: { room: "s" },
  signal: { room: "s", kind: "s", from: "s", at: "n" },
  error: {},
  pong: {},
};

/**
 * Reads a frame.
 *
 * @throws if the text is not JSON, or lacks a field that its type requires.
 */
export function read(text: string): Frame {
  const frame: unknown = JSON.parse(text);
  if (typeof frame !== "object" || frame === null || Array.isArray(frame)) throw new Error("not an object");
  const fields = frame as Record<string, unknown>;
  const type = fields["type"];
  if (typeof type !== "string") {
    // API Gateway's own frames have no type.
    return { type: "gateway", words: String(fields["message"] ?? "no reason given") };
  }
  const needed = Object.hasOwn(NEEDED, type) ? NEEDED[type] : undefined;
  if (!needed) return { type: "unknown" };
  for (const [name, kind] of Object.entries(needed)) {
    if (typeof fields[name] !== (kind === "s" ? "string" : "number")) throw new Error(`${type} without ${name}`);
  }
  if (type === "joined" || type === "history") {
    fields["first"] ??= 0;
    fields["head"] ??= 0;
    fields["messages"] ??= [];
    // Entries of an answer may omit the epoch, and take that of the answer.
    for (const entry of fields["messages"] as Record<string, unknown>[]) entry["epoch"] ??= fields["epoch"];
  }
  return frame as Frame;
}

/** An event of the state machine. */
export type Event =
  | { readonly type: "connected"; readonly renewed: boolean }
  | { readonly type: "disconnected"; readonly reason: string; readonly retryInMs?: number }
  | {
      readonly type: "joined";
      readonly room: string;
      readonly epoch: string;
      readonly first: number;
      readonly head: number;
      readonly recovered: boolean | null;
    }
  | { readonly type: "left"; readonly room: string }
  | ({ readonly type: "message"; readonly room: string } & Entry)
  | ({ readonly type: "ack" } & Ack)
  | ({ readonly type: "lost"; readonly room: string } & Lost)
  | { readonly type: "filled"; readonly room: string; readonly count: number }
  | {
      readonly type: "history";
      readonly id: string;
      readonly room: string;
      readonly messages: readonly Entry[];
      readonly more: boolean;
    }
  | ({ readonly type: "members" } & Members)
  | ({ readonly type: "signal" } & Signal)
  | { readonly type: "denied"; readonly room: string; readonly name: string; readonly message: string }
  | {
      readonly type: "error";
      readonly id?: string;
      readonly room?: string;
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
  readonly missing?: number;
}
