// nginx in front of nodes, which sends each request to the next one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../../clients/typescript/test/support/redis.js";

const configuration = (port, nodes) => `
daemon off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 4000; }
http {
  access_log off;
  client_max_body_size 16m;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  upstream nodes { ${nodes.map((node) => `server 127.0.0.1:${node.port} max_fails=0;`).join(" ")} keepalive 64; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 120s;
    }
  }
}
`;

/** Starts nginx; `url` is its address, and `stop` ends it. */
export async function balance(nodes) {
  const [port, dir] = [await freePort(), await mkdtemp(join(tmpdir(), "fanfare-nginx-"))];
  await writeFile(join(dir, "nginx.conf"), configuration(port, nodes));
  const child = spawn("nginx", ["-p", dir, "-c", "nginx.conf"], { stdio: ["ignore", "ignore", "inherit"] });
  const exited = once(child, "exit");
  const url = `http://127.0.0.1:${port}`;
  while (!(await fetch(`${url}/healthz`).catch(() => undefined))?.ok) {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}`);
    await sleep(20);
  }
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
    await rm(dir, { recursive: true, force: true });
  };
  return { url, stop };
}
