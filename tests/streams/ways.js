// The ways to the nodes that the conformance suite takes. Each gives the address, and how to end what it started.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Node, startRedis } from "../../clients/typescript/test/support/nodes.js";
import { freePort } from "../../clients/typescript/test/support/redis.js";
import { balance } from "./balancer.js";

const settings = {
  FANFARE_AUTH__MODE: "none",
  FANFARE_HTTP__ALLOWED_ORIGINS: "*",
  FANFARE_DRAIN__NOTICE: "200ms",
  FANFARE_DRAIN__WINDOW: "200ms",
  // Two tests wait for a whole long poll, and have no more than five seconds.
  FANFARE_FINITE__LONG_POLL: "800ms",
};

/** Nodes on one Redis. */
async function cluster(count, more = {}) {
  const redis = await startRedis();
  const all = { ...settings, ...more, FANFARE_REDIS__URL: redis.url };
  const nodes = await Promise.all(Array.from({ length: count }, () => new Node(all).start()));
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await redis.stop();
  };
  return { nodes, stop };
}

/** HAProxy with a configuration. */
async function haproxy(configuration) {
  const dir = await mkdtemp(join(tmpdir(), "fanfare-haproxy-"));
  await writeFile(join(dir, "haproxy.cfg"), configuration);
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const child = spawn("haproxy", ["-db", "-f", join(dir, "haproxy.cfg")], { env, stdio: "ignore" });
  const exited = once(child, "exit");
  return async () => {
    child.kill("SIGKILL");
    await exited;
    await rm(dir, { recursive: true, force: true });
  };
}

/** Two nodes behind nginx, which sends each request to the next one. */
async function nginx() {
  const { nodes, stop } = await cluster(2);
  const balancer = await balance(nodes);
  return { url: balancer.url, stop: () => balancer.stop().then(stop) };
}

/** One node without Redis. */
async function memory() {
  const node = await new Node(settings).start();
  return { url: node.url, stop: () => node.stop() };
}

/** Two nodes to which HAProxy speaks HTTP/2 over TLS, each request to the next one. */
async function http2() {
  const dir = await mkdtemp(join(tmpdir(), "fanfare-tls-"));
  const [key, certificate] = [join(dir, "key.pem"), join(dir, "certificate.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"];
  await promisify(execFile)("openssl", ["req", ...kind, ...subject, "-keyout", key, "-out", certificate]);
  const { nodes, stop } = await cluster(2, { FANFARE_TLS__CERTIFICATE: certificate, FANFARE_TLS__KEY: key });
  const port = await freePort();
  const servers = nodes.map((node, n) => `  server n${n} 127.0.0.1:${node.port} ssl verify none alpn h2`).join("\n");
  const times = "  timeout connect 1s\n  timeout client 2m\n  timeout server 2m\n";
  const reuse = "  mode http\n  balance roundrobin\n  http-reuse always\n  option http-no-delay\n";
  const end = await haproxy(`listen nodes\n${reuse}${times}  bind 127.0.0.1:${port}\n${servers}\n`);
  const url = `http://127.0.0.1:${port}`;
  while (!(await fetch(`${url}/healthz`).catch(() => undefined))?.ok) await sleep(20);
  const stopAll = async () => {
    await end();
    await stop();
    await rm(dir, { recursive: true, force: true });
  };
  return { url, stop: stopAll };
}

/** Three nodes behind HAProxy with the configuration of this repository. */
async function behindHaproxy() {
  const { nodes, stop } = await cluster(3);
  const port = await freePort();
  let configuration = await readFile(resolve(import.meta.dirname, "../../deploy/haproxy.cfg"), "utf8");
  nodes.forEach((node, n) => {
    configuration = configuration.replaceAll(`node-${"abc"[n]}:8080`, `127.0.0.1:${node.port}`);
  });
  const end = await haproxy(configuration.replace("bind :8080", `bind 127.0.0.1:${port}`));
  const url = `http://127.0.0.1:${port}`;
  while (!(await fetch(`${url}/healthz`).catch(() => undefined))?.ok) await sleep(20);
  return { url, nodes, stop: () => end().then(stop) };
}

/** The same, while one node after the other is killed and started again, every five seconds. */
async function kills() {
  const { url, nodes, stop } = await behindHaproxy();
  let [killed, ended] = [0, false];
  const killing = (async () => {
    for (let n = 0; !ended; n += 1) {
      await sleep(5000);
      if (ended) break;
      const node = nodes[n % nodes.length];
      await node.stop("SIGKILL");
      killed += 1;
      await node.start();
    }
  })();
  const stopAll = async () => {
    ended = true;
    await killing;
    await stop();
    console.log(`${killed} nodes were killed`);
  };
  return { url, cuts: true, stop: stopAll };
}

export const ways = { nginx, memory, http2, haproxy: behindHaproxy, kills };
