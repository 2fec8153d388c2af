// Streams and long polls, behind a proxy that holds each response until it is complete, or does not.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as send } from "node:http";
import { test } from "node:test";
import { connect } from "../../dist/index.js";
import { orPoll } from "../../dist/poll.js";
import { Node, publish, reached, startRedis, until } from "../support/nodes.js";

/** A proxy in front of nodes: each request to the next one. */
class HoldingProxy {
  holds = true;
  /** The value of `wait` of each stream and poll; absent for a stream. */
  waits = [];
  #server;

  constructor(nodes) {
    let turn = 0;
    this.#server = createServer((incoming, outgoing) => {
      const { holds } = this;
      this.waits.push(new URL(incoming.url, "http://proxy").searchParams.get("wait") ?? undefined);
      const { port } = nodes[turn++ % nodes.length];
      const onward = send({ port, host: "127.0.0.1", path: incoming.url, headers: { ...incoming.headers, connection: "close" } });
      onward.on("response", (answer) => {
        const { connection, "transfer-encoding": framing, ...headers } = answer.headers;
        const head = () => outgoing.writeHead(answer.statusCode, headers);
        if (!holds) return answer.pipe(head());
        const held = [];
        answer.on("data", (bytes) => held.push(bytes));
        answer.on("end", () => head().end(Buffer.concat(held)));
      });
      onward.on("error", () => outgoing.destroy());
      outgoing.on("close", () => onward.destroy());
      onward.end();
    });
  }

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${this.#server.address().port}/v1/events`;
  }

  /** Breaks all connections. */
  cut() {
    this.#server.closeAllConnections();
  }

  stop() {
    this.#server.close();
    this.cut();
  }
}

test("a client polls while a proxy holds responses, streams when it does not, and has every event once", async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const nodes = [];
  for (let n = 0; n < 2; n += 1) {
    const node = new Node({ FANFARE_REDIS__URL: redis.url, FANFARE_AUTH__MODE: "none", FANFARE_LOG__LEVEL: "error" });
    t.after(() => node.stop("SIGKILL"));
    nodes.push(await node.start());
  }
  const proxy = new HoldingProxy(nodes);
  const client = connect(`${await proxy.start()}?user=ann`, { channels: ["room:1"], transport: orPoll, minDelay: 50 });
  t.after(() => {
    client.close();
    proxy.stop();
  });
  const [got, states] = [[], []];
  client.onEvent(({ data }) => got.push(data));
  client.onState(({ name }) => states.push(name));
  client.onGap((gap) => assert.fail(JSON.stringify(gap)));
  await reached(client, "live");
  let sent = 0;
  const publishSome = async (count) => {
    for (let n = 0; n < count; n += 1) await publish(nodes, { channel: "room:1", type: "n", data: sent++ });
    await until(
      () => got.length === sent,
      20,
      () => `${got.length} of ${sent}: ${proxy.waits}`,
    );
  };

  // A stream that brought nothing, and the poll that showed the way.
  await publishSome(50);
  assert.deepEqual(proxy.waits.slice(0, 3), [undefined, "0", "25"]);
  assert.ok(
    proxy.waits.slice(1).every((wait) => wait !== undefined),
    `${proxy.waits}`,
  );
  assert.deepEqual(states, ["connecting", "live"], "polls are one connection");

  // The answers come as they are sent from now on.
  proxy.holds = false;
  await until(
    async () => {
      await publishSome(5);
      return proxy.waits.at(-1) === undefined;
    },
    20,
    "a stream",
  );
  const streams = proxy.waits.length;
  await publishSome(50);
  assert.equal(proxy.waits.length, streams, "one stream");

  // And back.
  proxy.holds = true;
  proxy.cut();
  await until(() => proxy.waits.at(-1) === "25", 20, "polls");
  await publishSome(50);
  assert.deepEqual(
    got,
    Array.from({ length: sent }, (_, n) => n),
  );
});
