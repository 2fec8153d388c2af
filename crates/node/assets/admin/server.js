// The node behind the page: its calls, and its streams. The token is sent as a header, never in a URL.

/** Why a call failed: the node's problem, or the network. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const SILENCE = 40_000; // a stream without a byte for so long is dead; the heartbeat is asked for below
const LONGEST = 30_000; // longest time between attempts
const MAX_TEXT = 8 * 1024 * 1024; // longest unfinished block of a stream

/** The calls of one node, with a token. */
export class Server {
  #token;

  constructor(token) {
    this.#token = token;
  }

  #fetch(path, query, options) {
    const url = new URL(path, document.baseURI);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.append(name, value);
    const headers = { ...options.headers };
    if (this.#token) headers.authorization = `Bearer ${this.#token}`;
    return fetch(url, { ...options, headers, cache: "no-store", redirect: "error" });
  }

  /** Calls `v1/` and these parts of a path, each with any characters. */
  async call(method, parts, { query, json } = {}) {
    const path = ["v1", ...parts].map(encodeURIComponent).join("/");
    const body = json && JSON.stringify(json);
    const headers = json ? { "content-type": "application/json" } : {};
    let response;
    try {
      response = await this.#fetch(path, query, { method, headers, body });
    } catch (error) {
      throw new Refused(0, `no answer: ${error.message}`);
    }
    if (!response.ok) throw await refusal(response);
    return response.json();
  }

  /**
   * Follows a channel until the returned function is called. `on.event(event)` gets each event of that channel, `on.control(kind,
   * data)` what concerns the stream, `on.state(state, why)` is `live` or `waiting`, and `on.ended(why)` is for good.
   */
  follow(channel, query, on) {
    const stop = new AbortController();
    run(this, channel, query, on, stop.signal).catch((error) => on.ended(String(error.message ?? error)));
    return () => stop.abort();
  }

  /** Opens a stream. Fails with a `Refused`, or with the network's error. */
  async open(query, cursor, signal) {
    const headers = { accept: "text/event-stream", prefer: "status" };
    if (cursor) headers["last-event-id"] = cursor;
    const response = await this.#fetch("v1/events", { format: "json", heartbeat: 15, ...query }, { headers, signal });
    if (!response.ok) throw await refusal(response);
    return response.body.pipeThrough(new TextDecoderStream()).getReader();
  }
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return new Refused(response.status, String(problem.detail ?? problem.title ?? `status ${response.status}`));
}

async function run(server, channel, query, on, signal) {
  let [cursor, session, retry, failures] = ["", "", 2000, 0];
  while (!signal.aborted) {
    let why = "the stream ended";
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    signal.addEventListener("abort", abort);
    let watchdog = setTimeout(abort, SILENCE);
    try {
      const reader = await server.open({ channel, ...query, ...(session && { session }) }, cursor, attempt.signal);
      for await (const block of blocks(reader, () => {
        clearTimeout(watchdog);
        watchdog = setTimeout(abort, SILENCE);
      })) {
        if (block.retry) retry = Math.min(block.retry, LONGEST);
        if (block.id !== undefined) cursor = block.id;
        if (block.data === undefined) continue;
        const data = JSON.parse(block.data);
        if (!block.event) {
          if (data.channel === channel) on.event(data);
          continue;
        }
        on.control?.(block.event, data);
        if (block.event === "connected") {
          [session, failures] = [data.session, 0];
          on.state("live", `node ${data.node}`);
        }
        const lost = block.event === "expired" && ["token", "revoked", "ungranted"].includes(data.reason);
        if (lost) return on.ended(`the stream expired: ${data.reason}`);
        if (["disconnected", "superseded"].includes(block.event)) return on.ended(`the stream was ${block.event}`);
      }
    } catch (error) {
      if (signal.aborted) return;
      const isFinal = error instanceof Refused && error.status < 500 && error.status !== 429;
      if (isFinal) return on.ended(error.message);
      why = attempt.signal.aborted ? "no data" : error.message;
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", abort);
      attempt.abort();
    }
    if (signal.aborted) return;
    on.state("waiting", why);
    const wait = Math.min(retry * 2 ** Math.min(failures, 5), LONGEST);
    failures += 1;
    await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
  }
}

/** Reads the blocks of an event stream (WHATWG HTML, section 9.2.6). */
async function* blocks(reader, alive) {
  let text = "";
  let block = {};
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    text += value;
    // A final CR may be the first half of a CR LF.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    text = lines.pop();
    if (text.length > MAX_TEXT) throw new Error("an event is too long");
    for (const line of lines) {
      if (line === "") {
        yield block;
        block = {};
        continue;
      }
      const [, name, content] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (name === "data") block.data = block.data === undefined ? content : `${block.data}\n${content}`;
      else if (name === "retry") block.retry = Number(content) || undefined;
      else if (name === "id" || name === "event") block[name] = content;
    }
  }
}
