// What is measured.
import { Counter, Trend } from "k6/metrics";

/** From asking for a stream to its `connected` event. */
export const connected = new Trend("fanfare_connected", true);
/** From publishing, the request included, to a client's handler. Both by the clock of this machine. */
export const latency = new Trend("fanfare_latency", true);
/** From the end of a stream to the `connected` event of the next, the wait that `retry:` asks for included. */
export const resumed = new Trend("fanfare_resumed", true);

export const received = new Counter("fanfare_received");
/** Numbers that a stream never got. */
export const lost = new Counter("fanfare_lost");
/** Numbers that a stream got again. */
export const duplicates = new Counter("fanfare_duplicates");
/** Numbers that came after a higher one. */
export const disordered = new Counter("fanfare_disordered");
/** `gap` events. */
export const gaps = new Counter("fanfare_gaps");
/** `overloaded` events. */
export const overloaded = new Counter("fanfare_overloaded");
/** Connections that did not come about, or broke. Clients come back from it. */
export const broken = new Counter("fanfare_broken");
/** Streams that came back. */
export const reconnects = new Counter("fanfare_reconnects");
/** Streams that a browser would not open again: any status but 200, or an instruction not to reconnect. */
export const gaveUp = new Counter("fanfare_gave_up");
/** Streams that got the last event. */
export const finished = new Counter("fanfare_finished");

export const published = new Counter("fanfare_published");
/** Requests that were repeated. The key of each event keeps it from being published twice. */
export const repeated = new Counter("fanfare_publish_repeated");
/** Events given up after `GRACE`. */
export const unpublished = new Counter("fanfare_unpublished");
