/**
 * Functions for Svelte. A client is open while a mounted component uses it; make it outside of components, with `createClient`.
 *
 * @module
 */
import { onMount } from "svelte";
import { type Readable, readable } from "svelte/store";
import type { Client } from "./client.js";
import type { EventOf, FanfareEvent, Gap } from "./event.js";
import type { State } from "./state.js";

/** Calls a function with each event of a type. Call it while a component is made. */
export function useEvents<Events extends object, Type extends keyof Events & string>(
  client: Client<Events>,
  type: Type,
  listener: (data: Events[Type], event: FanfareEvent<Events[Type], Type>) => void,
): void {
  use(client, () => client.on(type, listener));
}

/** Calls a function with each event, whatever its type. */
export function useAllEvents<Events extends object>(client: Client<Events>, listener: (event: EventOf<Events>) => void): void {
  use(client, () => client.onEvent(listener));
}

/** Calls a function with each gap. */
export function useGaps<Events extends object>(client: Client<Events>, listener: (gap: Gap) => void): void {
  use(client, () => client.onGap(listener));
}

/** Returns a store with the state of a client. A component that only reads it opens nothing. */
export function clientState<Events extends object>(client: Client<Events>): Readable<State> {
  return readable(client.state, (set) => {
    set(client.state);
    return client.onState(set);
  });
}

function use<Events extends object>(client: Client<Events>, add: () => () => void): void {
  onMount(() => {
    const remove = add();
    const release = client.hold();
    return () => {
      remove();
      release();
    };
  });
}
