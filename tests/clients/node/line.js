// What every program here has: the stream's URL, and one line of JSON for each message that the library hands over.

export const url = process.argv[2];

/** Types of events for clients that have to name what they listen for. */
export const types = [
  "message", "note", "typing",
  "connected", "gap", "shutdown", "overloaded", "superseded", "expired", "excepted", "disconnected",
];

export const print = ({ type, id, data }) => process.stdout.write(`${JSON.stringify({ type, id, data })}\n`);

/** For clients with the interface of the browsers' EventSource. */
export function printAll(source) {
  for (const type of types) {
    source.addEventListener(type, (event) => print({ type, id: event.lastEventId, data: event.data }));
  }
}
