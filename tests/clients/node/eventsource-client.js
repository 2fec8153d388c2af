// eventsource-client: reconnects by itself.

import { createEventSource } from "eventsource-client";
import { print, url } from "./line.js";

for await (const { event, id, data } of createEventSource(url)) {
  print({ type: event, id, data });
}
