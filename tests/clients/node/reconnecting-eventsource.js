// reconnecting-eventsource around eventsource 4: reconnects by itself, and sends the last id as `?lastEventId=`.

import { EventSource } from "eventsource-4";
import ReconnectingEventSource from "reconnecting-eventsource";
import { printAll, url } from "./line.js";

printAll(new ReconnectingEventSource(url, { eventSourceClass: EventSource }));
