// A TCP proxy in front of a node that cuts each connection after a number of bytes of its answers.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class CuttingProxy {
  cuts = 0;
  #sockets = new Set();
  #server;

  /** @param after returns the bytes that a connection carries before it is cut */
  constructor(node, after) {
    this.#server = createServer((client) => {
      const server = connect(node.port, "127.0.0.1");
      let left = after();
      for (const socket of [client, server]) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          this.#sockets.delete(socket);
          client.destroy();
          server.destroy();
        });
      }
      client.pipe(server);
      server.on("data", (bytes) => {
        client.write(bytes.subarray(0, left));
        left -= bytes.length;
        if (left > 0) return;
        this.cuts += 1;
        client.destroySoon();
        server.destroy();
      });
    });
  }

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  async stop() {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
