// A TCP proxy in front of nodes that breaks, buffers, delays, freezes, and answers 502.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import { randomFrom } from "./random.js";

/** What may happen to a connection, with its weight. */
const FAULTS = [
  ["pass", 3],
  ["reset", 3],
  ["end", 2],
  ["delay", 3],
  ["buffer", 3],
  ["freeze", 2],
  ["502", 2],
];

const BAD_GATEWAY =
  "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 11\r\nconnection: close\r\n\r\nbad gateway";

/** Has one request on each connection, so that a fault of a connection is one of a stream. */
const withoutReuse = (request) => request.replace(/^connection:.*\r\n/im, "").replace("\r\n", "\r\nconnection: close\r\n");

export class FaultProxy {
  /** While false, connections pass. */
  faulty = false;
  /** Requests for a stream: `{ user, at }`. */
  requests = [];
  /** Streams that stood still: `{ user, at }`, and `left` when the client is gone. */
  freezes = [];
  counts = Object.fromEntries(FAULTS.map(([fault]) => [fault, 0]));
  #nodes;
  #random;
  #sockets = new Set();
  #stopped = false;
  #server = createServer((socket) => this.#serve(socket));

  constructor(nodes, seed) {
    this.#nodes = nodes;
    this.#random = randomFrom(seed);
  }

  async start() {
    // All of 127.0.0.0/8: a browser opens six connections to an address at most.
    this.#server.listen(0, "0.0.0.0");
    await once(this.#server, "listening");
    return this;
  }

  /** The proxy as one of several servers. */
  url(n) {
    return `http://127.0.0.${n + 1}:${this.#server.address().port}`;
  }

  async stop() {
    this.#stopped = true;
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Ends the connections that stand still, and lets all further ones pass. */
  mend() {
    this.faulty = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  #choose() {
    if (!this.faulty) return "pass";
    let place = this.#random() * FAULTS.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [fault, weight] of FAULTS) {
      place -= weight;
      if (place < 0) return fault;
    }
  }

  #serve(client) {
    // Accepted before the server closed, which waits for its connections.
    if (this.#stopped) return client.destroy();
    const fault = this.#choose();
    const after = 200 + this.#random() * 4000;
    const slowness = this.#random();
    this.counts[fault] += 1;
    this.#keep(client);
    let user;
    const request = (bytes) => {
      const text = bytes.toString("latin1");
      [, user] = text.match(/^GET \/v1\/events\?user=([^& ]*)/) ?? [];
      if (user) this.requests.push({ user, at: Date.now() });
      return Buffer.from(withoutReuse(text), "latin1");
    };
    if (fault === "502") {
      client.once("data", (bytes) => {
        request(bytes);
        client.end(BAD_GATEWAY);
      });
      return;
    }
    const running = this.#nodes.filter((node) => node.running);
    const node = running[Math.floor(this.#random() * running.length)] ?? this.#nodes[0];
    const server = this.#keep(connect(node.port, "127.0.0.1"));
    client.once("data", (bytes) => {
      server.write(request(bytes));
      client.pipe(server);
    });
    client.on("close", () => server.destroy());
    server.once("connect", () => {
      server.on("end", () => client.end());
      server.on("close", () => fault !== "freeze" && client.destroySoon());
    });
    server.once("error", () => server.bytesRead || client.destroyed || client.end(BAD_GATEWAY));
    this.#forward(fault, slowness, server, client);
    if (fault === "reset") this.#later(after, client, () => client.resetAndDestroy());
    if (fault === "end") this.#later(after, client, () => client.end());
    if (fault === "freeze") {
      this.#later(after, client, () => {
        server.pause();
        server.removeAllListeners("data");
        if (user) this.#freeze(user, client);
      });
    }
  }

  #freeze(user, client) {
    const freeze = { user, at: Date.now() };
    this.freezes.push(freeze);
    client.once("close", () => {
      freeze.left = Date.now();
    });
  }

  #forward(fault, slowness, server, client) {
    const write = (bytes) => client.writable && client.write(bytes);
    if (fault === "delay") {
      server.on("data", (bytes) => this.#later(slowness * 300, client, () => write(bytes)));
    } else if (fault === "buffer") {
      let held = [];
      server.on("data", (bytes) => {
        if (!held.length) {
          this.#later(slowness * 1500, client, () => {
            write(Buffer.concat(held));
            held = [];
          });
        }
        held.push(bytes);
      });
    } else server.on("data", write);
  }

  #later(milliseconds, socket, act) {
    const timer = setTimeout(() => socket.destroyed || act(), milliseconds);
    socket.once("close", () => clearTimeout(timer));
  }

  #keep(socket) {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.setMaxListeners(0);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    return socket;
  }
}
