// Two components of React that use one client.

import { createElement, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "../../dist/index.js";
import { useAllEvents, useClientState, useEvents, useGaps } from "../../dist/react.js";

export function start(url, got) {
  const client = createClient(url);
  function Counter() {
    // A listener of each render: the last one is called.
    const [count, setCount] = useState(0);
    useEvents(client, "number", (data) => {
      got.typed.push(data);
      got.counts.push(count);
      setCount((current) => current + 1);
    });
    useGaps(client, () => got.gaps.push(1));
    return createElement("p", { id: "count" }, count);
  }
  function All() {
    const { name } = useClientState(client);
    useAllEvents(client, ({ data }) => got.all.push(data));
    return createElement("p", { id: "state" }, name);
  }
  const root = createRoot(document.body);
  const render = (...components) =>
    root.render(
      createElement(StrictMode, null, ...components.map((component) => createElement(component, { key: component.name }))),
    );
  return { client, both: () => render(Counter, All), one: () => render(All), none: () => render() };
}
