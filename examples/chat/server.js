// The server of the example: a page, and the calls of `useChat`.

import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { build } from "esbuild";
import { resume, send, stop } from "./chat.js";
import { load } from "./chats.js";

const { outputFiles } = await build({
  entryPoints: [join(import.meta.dirname, "page.jsx")],
  bundle: true,
  minify: true,
  write: false,
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
});
const script = outputFiles[0].text;

const page = (id, messages) => `<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<style>body { font: 16px/1.5 system-ui; max-width: 40em; margin: 2em auto } .user { color: #666 }</style>
<main></main>
<script type="application/json" id="chat">${JSON.stringify({ id, messages, direct: process.env.DIRECT }).replaceAll("<", "\\u003c")}</script>
<script src="/page.js"></script>`;

const typed = (type, body) => new Response(body, { headers: { "content-type": type } });

async function answer(method, path, body) {
  const [, id, call] = path.match(/^\/api\/chat\/([\w-]+)\/(stream|stop)$/) ?? [];
  if (method === "POST" && path === "/api/chat") return send(JSON.parse(await body()));
  if (method === "GET" && call === "stream") return resume(id);
  if (method === "POST" && call === "stop") return stop(id);
  if (path === "/page.js") return typed("text/javascript", script);
  if (path === "/") return new Response(null, { status: 302, headers: { location: `/${crypto.randomUUID()}` } });
  if (/^\/[\w-]{1,64}$/.test(path)) return typed("text/html", page(path.slice(1), await load(path.slice(1))));
  return new Response(null, { status: 404 });
}

const server = createServer(async (request, response) => {
  const body = async () => Buffer.concat(await request.toArray()).toString();
  try {
    const { status, headers, body: stream } = await answer(request.method, new URL(request.url, "http://localhost").pathname, body);
    response.writeHead(status, Object.fromEntries(headers));
    if (stream) await pipeline(Readable.fromWeb(stream), response);
    else response.end();
  } catch (error) {
    // A reader that has left, as one that refreshes the page does.
    if (error.code === "ERR_STREAM_PREMATURE_CLOSE") return;
    console.error(error);
    if (response.headersSent) response.destroy();
    else response.writeHead(500).end();
  }
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
await once(server, "listening");
console.log(`listening on http://127.0.0.1:${server.address().port}`);
