// Two nodes on one Redis, and calls about finite streams.

import assert from "node:assert/strict";
import { Node, startRedis } from "../../clients/typescript/test/support/nodes.js";

export const plain = { "content-type": "text/plain" };
export const json = { "content-type": "application/json" };
export const closing = (more) => ({ ...plain, "stream-closed": "true", ...more });

/** Returns the settings of a node without authentication that drains quickly. */
export const settings = (redis) => ({
  FANFARE_REDIS__URL: redis.url,
  FANFARE_AUTH__MODE: "none",
  FANFARE_DRAIN__NOTICE: "0s",
  FANFARE_DRAIN__WINDOW: "200ms",
});

/** Two nodes on one Redis; `stream` returns the URLs of a new stream, one for each node. */
export class TwoNodes {
  #number = 0;

  constructor(prefix) {
    this.prefix = prefix;
  }

  async start() {
    this.redis = await startRedis();
    this.nodes = await Promise.all([1, 2].map(() => new Node(settings(this.redis)).start()));
  }

  async stop() {
    await Promise.all(this.nodes.map((node) => node.stop()));
    await this.redis.stop();
  }

  stream() {
    this.#number += 1;
    return this.nodes.map((node) => `${node.url}/v1/stream/${this.prefix}-${this.#number}`);
  }
}

export async function call(method, url, { headers = {}, body } = {}) {
  const response = await fetch(url, { method, headers, body });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** Makes a call that must succeed. */
export async function done(method, url, options) {
  const answer = await call(method, url, options);
  assert.ok(answer.status < 300, `${method} ${url}: ${answer.status} ${answer.text}`);
  return answer;
}

/** Returns a metric of a node that has no labels. */
export async function metric(node, name) {
  const text = await (await fetch(`${node.url}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name} (\\d+)$`, "m"))?.[1]);
}
