// A TCP proxy in front of nodes that breaks, buffers, delays, freezes, and answers 502.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Random numbers from a seed (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

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

export class FaultProxy {
  /** While false, connections pass. */
  faulty = false;
  /** Requests for a stream: `{ user, at }`. */
  requests = [];
  /** Streams that stood still: `{ user, at }`. */
  freezes = [];
  counts = Object.fromEntries(FAULTS.map(([fault]) => [fault, 0]));
  #nodes;
  #random;
  #sockets = new Set();
  #server = createServer((socket) => this.#serve(socket));

  constructor(nodes, seed) {
    this.#nodes = nodes;
    this.#random = randomFrom(seed);
  }

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
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
    const fault = this.#choose();
    const after = 200 + this.#random() * 4000;
    const slowness = this.#random();
    this.counts[fault] += 1;
    this.#keep(client);
    let user;
    client.on("data", (bytes) => {
      const match = bytes.toString("latin1").match(/^GET \/v1\/events\?user=([^&]*)/);
      if (!match) return;
      [, user] = match;
      this.requests.push({ user, at: Date.now() });
    });
    if (fault === "502") {
      client.once("data", () => client.end(BAD_GATEWAY));
      return;
    }
    const running = this.#nodes.filter((node) => node.running);
    const node = running[Math.floor(this.#random() * running.length)] ?? this.#nodes[0];
    const server = this.#keep(connect(node.port, "127.0.0.1"));
    client.pipe(server);
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
        if (user) this.freezes.push({ user, at: Date.now() });
      });
    }
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
