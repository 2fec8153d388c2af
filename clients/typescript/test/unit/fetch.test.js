// The transport against a server that the test plays.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { connect } from "../../dist/index.js";

/** Serves one test; closes with it. */
async function serve(t, respond) {
  const server = createServer(respond).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}/v1/events?app=1`;
}

/** Waits for a state of the client. */
function reached(client, name) {
  if (client.state.name === name) return client.state;
  return new Promise((resolve) => {
    const off = client.onState((state) => {
      if (state.name !== name) return;
      off();
      resolve(state);
    });
  });
}

const hello = 'id: 1-0\nretry: 10\nevent: connected\ndata: {"session":"s","node":"a","cursor":"1-0"}\n\n';
const note = (n) => `id: 2-${n}\ndata: {"channel":"c","type":"note","id":"2-${n}","time":1,"data":"${n}"}\n\n`;

test("a stream is read as it comes, and continued with the cursor", async (t) => {
  const requests = [];
  const url = await serve(t, (request, response) => {
    requests.push(request);
    response.writeHead(200, { "content-type": "Text/Event-Stream;charset=utf-8" });
    response.write(hello);
    response.write(note(requests.length));
    // Without the last chunk: the stream breaks.
    if (requests.length === 1) response.socket.end();
  });
  const client = connect(url, { minDelay: 1 });
  t.after(() => client.close());
  const seen = [];
  for await (const event of client) {
    seen.push(event.data);
    if (seen.length === 2) break;
  }
  assert.deepEqual(seen, [1, 2]);
  assert.equal(requests[1].headers["last-event-id"], "2-1");
  assert.equal(requests[1].headers.prefer, "status");
  assert.match(requests[1].url, /^\/v1\/events\?app=1&session=[0-9a-f-]{36}&format=json$/);
});

test("a 200 that is no stream is tried again", async (t) => {
  const url = await serve(t, (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>Log in"));
  const client = connect(url);
  t.after(() => client.close());
  const { error } = await reached(client, "waiting");
  assert.equal(error.code, "not-a-stream");
});

test("a refusal has the server's reason", async (t) => {
  const url = await serve(t, (_, response) => {
    const problem = { type: "/v1/problems#no-grant", code: "no-grant", title: "No grant", status: 403, detail: "room:7" };
    response.writeHead(403, { "content-type": "application/problem+json" }).end(JSON.stringify(problem));
  });
  const { error } = await reached(connect(url), "ended");
  assert.equal(error.code, "no-grant");
  assert.equal(error.detail, "room:7");
});

test("a server that is not there is waited for", async (t) => {
  const client = connect("http://127.0.0.1:1/");
  t.after(() => client.close());
  assert.ok((await reached(client, "waiting")).error instanceof TypeError);
});

test("a line without end breaks the connection before it fills the memory", async (t) => {
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    const write = () => {
      while (!response.destroyed && response.write("x".repeat(10_000)));
      if (!response.destroyed) response.once("drain", write);
    };
    write();
  });
  const client = connect(url, { maxEventSize: 100_000 });
  t.after(() => client.close());
  assert.equal((await reached(client, "waiting")).error.code, "event-too-large");
});

test("closing ends the request", async (t) => {
  let closed;
  const url = await serve(t, (_, response) => {
    closed = once(response, "close");
    response.writeHead(200, { "content-type": "text/event-stream" }).write(hello);
  });
  const client = connect(url);
  await reached(client, "live");
  client.close();
  await closed;
});
