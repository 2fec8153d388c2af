/**
 * Composables for Vue. A client is open while a mounted component uses it; make it outside of components, with `createClient`.
 *
 * @module
 */
import { getCurrentInstance, onMounted, onScopeDispose, type ShallowRef, shallowRef } from "vue";
import type { Client } from "./client.js";
import type { EventOf, FanfareEvent, Gap } from "./event.js";
import type { State } from "./state.js";

/** Calls a function with each event of a type. */
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

/** Returns the state of a client as a ref. */
export function useClientState<Events extends object>(client: Client<Events>): Readonly<ShallowRef<State>> {
  const state = shallowRef(client.state);
  const update = () => {
    state.value = client.state;
  };
  use(client, () => {
    update();
    return client.onState(update);
  });
  return state;
}

/** Opens nothing before the component is mounted: a server that renders it would keep the stream. */
function use<Events extends object>(client: Client<Events>, add: () => () => void): void {
  let stop = () => {};
  let disposed = false;
  const start = () => {
    if (disposed) return;
    const remove = add();
    const release = client.hold();
    stop = () => {
      remove();
      release();
    };
  };
  if (getCurrentInstance()) onMounted(start);
  else start();
  onScopeDispose(() => {
    disposed = true;
    stop();
  });
}
