// Two components of Svelte that use one client.

import { mount, unmount } from "svelte";
import { createClient } from "../../dist/index.js";
import All from "./All.svelte";
import Counter from "./Counter.svelte";

export function start(url, got) {
  const client = createClient(url);
  const mounted = new Map();
  const show = async (...components) => {
    for (const [component, instance] of mounted) {
      if (components.includes(component)) continue;
      mounted.delete(component);
      await unmount(instance);
    }
    for (const component of components) {
      if (!mounted.has(component)) mounted.set(component, mount(component, { target: document.body, props: { client, got } }));
    }
  };
  return { client, both: () => show(Counter, All), one: () => show(All), none: () => show() };
}
