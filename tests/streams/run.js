// Runs the conformance suite against two nodes on one Redis behind nginx, which sends each request to the next node.
//
//   node run.js            once
//   node run.js 10         ten times in a row

import { spawn } from "node:child_process";
import { once } from "node:events";
import { Node, startRedis } from "../../clients/typescript/test/support/nodes.js";
import { balance } from "./balancer.js";

const times = Number(process.argv[2] ?? 1);
const redis = await startRedis();
const settings = {
  FANFARE_REDIS__URL: redis.url,
  FANFARE_AUTH__MODE: "none",
  FANFARE_HTTP__ALLOWED_ORIGINS: "*",
  // Two tests wait for a whole long poll, and have no more than five seconds.
  FANFARE_FINITE__LONG_POLL: "800ms",
};
const nodes = await Promise.all([1, 2].map(() => new Node(settings).start()));
const balancer = await balance(nodes);
let failed = 0;
try {
  for (let n = 1; n <= times; n += 1) {
    const child = spawn("npx", ["vitest", "run", "--reporter=dot"], {
      cwd: import.meta.dirname,
      env: { ...process.env, STREAMS_URL: balancer.url },
      stdio: ["ignore", "inherit", "inherit"],
    });
    const [status] = await once(child, "exit");
    if (status !== 0) failed += 1;
  }
} finally {
  await balancer.stop();
  await Promise.all(nodes.map((node) => node.stop()));
  await redis.stop();
}
console.log(`${times - failed} of ${times} runs passed`);
process.exitCode = failed ? 1 : 0;
