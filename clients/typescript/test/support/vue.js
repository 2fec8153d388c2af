// Two components of Vue that use one client.

import { createApp, h, nextTick, shallowRef } from "vue";
import { createClient } from "../../dist/index.js";
import { useAllEvents, useClientState, useEvents, useGaps } from "../../dist/vue.js";

export function start(url, got) {
  const client = createClient(url);
  const Counter = {
    setup() {
      const count = shallowRef(0);
      useEvents(client, "number", (data) => {
        got.typed.push(data);
        got.counts.push(count.value);
        count.value += 1;
      });
      useGaps(client, () => got.gaps.push(1));
      return () => h("p", { id: "count" }, count.value);
    },
  };
  const All = {
    setup() {
      const state = useClientState(client);
      useAllEvents(client, ({ data }) => got.all.push(data));
      return () => h("p", { id: "state" }, state.value.name);
    },
  };
  const shown = shallowRef([]);
  createApp({ setup: () => () => shown.value.map((component) => h(component)) }).mount(
    document.body.appendChild(document.createElement("div")),
  );
  const show = (...components) => {
    shown.value = components;
    return nextTick();
  };
  return { client, both: () => show(Counter, All), one: () => show(All), none: () => show() };
}
