// One stream, followed as a browser would: it comes back after `retry:` with `Last-Event-ID`, until the last event.
import { sleep } from "k6";
import sse from "k6/x/sse";

import * as figures from "./figures.js";
import { Sequence } from "./sequence.js";

/**
 * Follows `address(attempt)` until the event `done` or until `deadline` (Unix milliseconds).
 * `retry` is how long to wait before coming back where the extension does not say what the server asked for.
 */
export function follow({ address, token, retry, deadline }) {
  const stream = { cursor: "", retry: null, sequence: null, done: false, over: false, dropped: false, ended: null };
  for (let attempt = 0; !stream.done && !stream.over && Date.now() < deadline; attempt++) {
    if (attempt > 0) {
      const wait = stream.retry !== null ? stream.retry : retry * (0.5 + Math.random());
      sleep(Math.min(wait, Math.max(deadline - Date.now(), 0)) / 1000);
      figures.reconnects.add(1);
    }
    hold(stream, address(attempt), token, deadline);
  }
  // Counted here and not only at the last event: a stream that got no last event has lost its missing events, too.
  figures.lost.add(stream.sequence === null ? 0 : stream.sequence.lost);
}

function hold(stream, address, token, deadline) {
  const asked = Date.now();
  const headers = {};
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  if (stream.cursor) {
    headers["Last-Event-ID"] = stream.cursor;
  }
  const response = sse.open(address, { headers, tags: { name: "stream" } }, (client) => {
    client.on("event", (event) => {
      take(stream, event, asked);
      if (stream.done || stream.over || stream.dropped || Date.now() > deadline) {
        stream.dropped = false;
        client.close();
      }
    });
    // Where the extension does not end a broken stream by itself.
    client.on("error", () => client.close());
  });
  stream.ended = Date.now();
  if (response.status !== 200 && response.status !== 0) {
    figures.gaveUp.add(1, { status: String(response.status) });
    stream.over = true;
  } else if (response.error) {
    figures.broken.add(1);
  }
}

function take(stream, event, asked) {
  // A heartbeat has neither.
  if (event.id) {
    stream.cursor = event.id;
  }
  if (event.retry !== undefined && event.retry !== null) {
    stream.retry = event.retry;
  }
  switch (event.name) {
    case "connected":
      return connect(stream, asked);
    case "gap":
      return figures.gaps.add(1);
    case "overloaded":
      return figures.overloaded.add(1, { reason: JSON.parse(event.data).reason });
    case "superseded":
    case "disconnected":
      figures.gaveUp.add(1, { status: event.name });
      stream.over = true;
      return undefined;
    case "load":
    case "drop":
    case "done":
      return file(stream, event);
    default:
      return undefined;
  }
}

function connect(stream, asked) {
  const now = Date.now();
  figures.connected.add(now - asked);
  if (stream.sequence === null) {
    stream.sequence = new Sequence(now);
  } else if (stream.ended !== null) {
    figures.resumed.add(now - stream.ended);
  }
}

function file(stream, event) {
  const data = JSON.parse(event.data);
  figures.received.add(1);
  const filed = stream.sequence.take(data);
  if (filed === "again") {
    figures.duplicates.add(1);
    return;
  }
  if (filed === "late") {
    figures.disordered.add(1);
  }
  figures.latency.add(Date.now() - data.t);
  if (event.name === "drop") {
    stream.dropped = true;
  } else if (event.name === "done") {
    stream.done = true;
    figures.finished.add(1);
  }
}
