/** Hooks for React 18 and newer. Each reads the chat through `useSyncExternalStore`. */

import { createContext, createElement, useCallback, useContext, useEffect, useSyncExternalStore } from "react";
import type { ReactElement, ReactNode } from "react";

import type { Present, RoomPresence } from "./presence.js";
import type { Chat, ChatState, Message, Room, RoomOptions, Sent } from "./index.js";

const Context = createContext<Chat | undefined>(undefined);

/** A room is left this long after its last component. StrictMode and navigation unmount components for a moment. */
const LINGER = 1000;

/** A component that was rendered and never mounted keeps its room for this long. */
const RENDERED = 5000;

/** The components that use a room, by the hooks that joined it. */
const users = new WeakMap<Room, { count: number; timer?: ReturnType<typeof setTimeout> }>();

/** Gives a chat to the components inside. */
export function ChatProvider(props: { readonly chat: Chat; readonly children?: ReactNode }): ReactElement {
  return createElement(Context.Provider, { value: props.chat }, props.children);
}

/** Returns the chat of the nearest `ChatProvider`. */
export function useChat(): Chat {
  const chat = useContext(Context);
  if (!chat) throw new Error("a component that uses the chat must be inside <ChatProvider chat={…}>");
  return chat;
}

/** Returns the state of the connection. */
export function useChatState(): ChatState {
  const chat = useChat();
  const subscribe = useCallback((changed: () => void) => chat.on("state", changed), [chat]);
  const state = () => chat.state;
  return useSyncExternalStore(subscribe, state, state);
}

/** Joins a room, and leaves it a second after the last component that uses it. A room that was joined before stays. */
export function useRoom<T = unknown>(name: string, options?: RoomOptions): Room<T> {
  const chat = useChat();
  const known = chat.rooms.get(name.normalize("NFC"));
  const room = chat.room<T>(name, options) as unknown as Room;
  if (room !== known) {
    const use = { count: 0 };
    users.set(room, use);
    leaveAfter(room, RENDERED);
  }
  useEffect(() => {
    const use = users.get(room);
    if (!use) return undefined;
    use.count += 1;
    clearTimeout(use.timer);
    return () => {
      use.count -= 1;
      leaveAfter(room, LINGER);
    };
  }, [room]);
  return room as unknown as Room<T>;
}

function leaveAfter(room: Room, wait: number): void {
  const use = users.get(room);
  if (!use || use.count > 0) return;
  clearTimeout(use.timer);
  use.timer = setTimeout(() => use.count > 0 || void room.leave(), wait);
}

function useOf<V>(room: { readonly subscribe: Room["subscribe"] }, read: () => V): V {
  return useSyncExternalStore(room.subscribe, read, read);
}

/** Returns the messages of a room, in order. */
export function useMessages<T>(room: Room<T>): readonly Message<T>[] {
  return useOf(room, () => room.messages);
}

/** Returns the state of a room. */
export function useRoomState<T>(room: Room<T>): Room["state"] {
  return useOf(room, () => room.state);
}

/** Returns a function that sends a message to a room, the same one at each render. */
export function useSend<T>(room: Room<T>): (data: T, options?: { id?: string }) => Sent {
  return useCallback((data, options) => room.send(data, options), [room]);
}

/** Returns the names of the users who are typing in a room, and a function to call at each change of the text. */
export function useTyping<T>(room: Room<T>): readonly [readonly string[], () => void] {
  const names = useOf(room, () => room.typists);
  return [names, useCallback(() => room.typing(), [room])];
}

/** Returns the other users in a room, in order of their names: `usePresence(presence(room))`. */
export function usePresence(here: RoomPresence): readonly Present[] {
  const users = () => here.users;
  return useSyncExternalStore(here.subscribe, users, users);
}

/** Returns the number of messages of others since the last `room.mark()`. */
export function useUnread<T>(room: Room<T>): number {
  return useOf(room, () => room.unread);
}
