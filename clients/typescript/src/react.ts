/**
 * Hooks for React. A client is open while a component uses it; make it outside of components, with `createClient`.
 *
 * @module
 */
import { useEffect, useRef, useSyncExternalStore } from "react";
import type { Client } from "./client.js";
import type { EventOf, FanfareEvent, Gap } from "./event.js";
import type { State } from "./state.js";

/** Calls a function with each event of a type. It may be another function in each render: the stream stays open. */
export function useEvents<Events extends object, Type extends keyof Events & string>(
  client: Client<Events>,
  type: Type,
  listener: (data: Events[Type], event: FanfareEvent<Events[Type], Type>) => void,
): void {
  useListener(client, (call) => client.on(type, call), listener, type);
}

/** Calls a function with each event, whatever its type. */
export function useAllEvents<Events extends object>(client: Client<Events>, listener: (event: EventOf<Events>) => void): void {
  useListener(client, client.onEvent, listener);
}

/** Calls a function with each gap. */
export function useGaps<Events extends object>(client: Client<Events>, listener: (gap: Gap) => void): void {
  useListener(client, client.onGap, listener);
}

/** Returns the state of a client. The component is rendered again with each change. */
export function useClientState<Events extends object>(client: Client<Events>): State {
  useEffect(() => client.hold(), [client]);
  const state = () => client.state;
  return useSyncExternalStore(client.onState, state, state);
}

function useListener<Events extends object, Args extends unknown[]>(
  client: Client<Events>,
  add: (call: (...args: Args) => void) => () => void,
  listener: (...args: Args) => void,
  type?: string,
): void {
  const latest = useRef(listener);
  useEffect(() => {
    latest.current = listener;
  });
  useEffect(() => {
    const remove = add((...args) => latest.current(...args));
    const release = client.hold();
    return () => {
      remove();
      release();
    };
  }, [client, type]);
}
