// eventsource-parser with fetch: only a parser, so the program comes back by itself, with the last id and `retry:`.

import { setTimeout } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { print, url } from "./line.js";

let lastId = "";
let retry = 1000;

const parser = createParser({
  onEvent({ event, id, data }) {
    if (id !== undefined) lastId = id;
    print({ type: event, id, data });
  },
  onRetry: (interval) => (retry = interval),
});

for (;;) {
  try {
    const headers = lastId ? { "Last-Event-ID": lastId } : {};
    const response = await fetch(url, { headers });
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) parser.feed(text);
  } catch (error) {
    console.error("the stream broke:", error);
  }
  parser.reset();
  await setTimeout(retry);
}
