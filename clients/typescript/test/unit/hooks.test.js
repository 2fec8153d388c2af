// Hooks where a server renders the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { render } from "svelte/server";
import { createSSRApp, h } from "vue";
import { renderToString as renderVue } from "vue/server-renderer";
import { createClient } from "../../dist/index.js";
import * as react from "../../dist/react.js";
import * as svelte from "../../dist/svelte.js";
import * as vue from "../../dist/vue.js";

/** A client that counts its connections. */
function idle(t) {
  const connections = [];
  const client = createClient("http://node/v1/events", { transport: { open: async (request) => connections.push(request) } });
  t.after(() => client.close());
  return { client, connections };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 10));

test("nothing is opened where a server renders components of React", async (t) => {
  const { client, connections } = idle(t);
  const Component = () => {
    react.useAllEvents(client, () => {});
    return createElement("p", null, react.useClientState(client).name);
  };
  assert.equal(renderToString(createElement(Component)), "<p>idle</p>");
  await turn();
  assert.deepEqual(connections, []);
});

test("nothing is opened where a server renders components of Vue", async (t) => {
  const { client, connections } = idle(t);
  const app = createSSRApp({
    setup() {
      vue.useAllEvents(client, () => {});
      const state = vue.useClientState(client);
      return () => h("p", state.value.name);
    },
  });
  assert.equal(await renderVue(app), "<p>idle</p>");
  await turn();
  assert.deepEqual(connections, []);
});

test("nothing is opened where a server renders components of Svelte", async (t) => {
  const { client, connections } = idle(t);
  const { body } = render((renderer) => {
    svelte.useAllEvents(client, () => {});
    svelte.clientState(client).subscribe(({ name }) => renderer.push(name))();
  });
  assert.match(body, /idle/);
  await turn();
  assert.deepEqual(connections, []);
});
