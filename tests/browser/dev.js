// A server and a browser for the tests.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const root = resolve(import.meta.dirname, "../..");
/** The binary that is tested. */
export const binary = process.env.FANFARE_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/fanfare");

/** A port that was free a moment ago. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts `fanfare dev` on a free port; answers its address and a way to stop it. */
export const startDev = () => start(["dev", "--listen", "127.0.0.1:0"]);

/** Starts a node without Redis on a port. */
export const startNode = (port, env) => start(["serve", "--listen", `127.0.0.1:${port}`, "--auth", "none"], env);

/** Starts a node without Redis that speaks TLS, with a self-signed certificate. */
export async function startTls() {
  const dir = await mkdtemp(join(tmpdir(), "fanfare-tls-"));
  const [key, certificate] = [join(dir, "key.pem"), join(dir, "certificate.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"];
  await promisify(execFile)("openssl", ["req", ...kind, ...subject, "-keyout", key, "-out", certificate]);
  const node = await start(["serve", "--listen", "127.0.0.1:0", "--auth", "none"], {
    FANFARE_TLS__CERTIFICATE: certificate,
    FANFARE_TLS__KEY: key,
    FANFARE_DRAIN__NOTICE: "200ms",
    FANFARE_DRAIN__WINDOW: "0s",
  });
  return {
    url: node.url,
    async stop() {
      const code = await node.stop();
      await rm(dir, { recursive: true, force: true });
      return code;
    },
  };
}

/** Starts `fanfare` with these arguments; answers the first address that it prints, and a way to stop it. */
export async function start(args, env = {}) {
  const child = spawn(binary, args, {
    // FANFARE_BIN is no setting of the node.
    env: { ...process.env, ...env, FANFARE_BIN: undefined },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((found, failed) => {
    lines.on("line", (line) => {
      const match = line.match(/https?:\/\/127\.0\.0\.1:\d+/);
      if (match) found(match[0]);
    });
    exited.then(([code]) => failed(new Error(`fanfare ${args[0]} ended with ${code}`)));
    child.on("error", failed);
  });
  return {
    url,
    async stop() {
      child.kill("SIGTERM");
      const [code] = await exited;
      return code;
    },
  };
}

/**
 * Starts the distribution's Chromium with an empty profile; `failures` collects what pages complain of. With `quic` it speaks only HTTP/3
 * to that host, whose certificate has that key (SHA-256, Base64).
 */
export async function startBrowser({ quic } = {}) {
  const profile = await mkdtemp(join(tmpdir(), "fanfare-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1200, height: 800 },
    // The tests' certificate is self-signed.
    ignoreHTTPSErrors: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      ...(quic
        ? [`--origin-to-force-quic-on=${quic.host}`, `--ignore-certificate-errors-spki-list=${quic.key}`]
        : ["--disable-quic"]),
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return {
    context,
    async page() {
      const page = await context.newPage();
      const failures = [];
      page.on("pageerror", (error) => failures.push(String(error)));
      page.on("console", (message) => {
        if (message.type() === "error") failures.push(message.text());
      });
      return { page, failures };
    },
    async closePages() {
      await Promise.all(context.pages().map((page) => page.close()));
    },
    async stop() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** Publishes one event, or several in order, and answers what the server says. */
export async function publish(url, body) {
  const response = await fetch(`${url}/v1/publish`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(answer));
  return answer;
}
