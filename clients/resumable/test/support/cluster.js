// Two nodes on one Redis, behind nginx if asked for, and contexts that use them.

import { balance } from "../../../../tests/streams/balancer.js";
import { Node, startRedis } from "../../../typescript/test/support/nodes.js";
import { createResumableStreamContext } from "../../dist/index.js";

export { Node, startRedis, until, within } from "../../../typescript/test/support/nodes.js";
export { freePort } from "../../../typescript/test/support/redis.js";

export class Cluster {
  async start({ balanced = false, env = {} } = {}) {
    this.redis = await startRedis();
    const settings = {
      FANFARE_REDIS__URL: this.redis.url,
      FANFARE_AUTH__MODE: "none",
      FANFARE_DRAIN__NOTICE: "0s",
      FANFARE_DRAIN__WINDOW: "200ms",
      ...env,
    };
    this.nodes = await Promise.all([1, 2].map(() => new Node(settings).start()));
    if (balanced) this.balancer = await balance(this.nodes);
    return this;
  }

  async stop() {
    await this.balancer?.stop();
    await Promise.all(this.nodes.map((node) => node.stop()));
    await this.redis.stop();
  }

  /** A context that uses one of the nodes. */
  context(node, options = {}) {
    return createResumableStreamContext({ waitUntil: null, url: this.nodes[node].url, onError: () => {}, ...options });
  }

  /** The value of a metric, of all nodes. */
  async metric(name) {
    let sum = 0;
    for (const node of this.nodes) {
      const text = await (await fetch(`${node.url}/metrics`)).text();
      sum += Number(text.match(new RegExp(`^${name} (\\d+)$`, "m"))?.[1]);
    }
    return sum;
  }
}
