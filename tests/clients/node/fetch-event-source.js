// @microsoft/fetch-event-source: takes a clean end of a stream for the end, unless `onclose` throws.

// It is made for browsers.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const { print, url } = await import("./line.js");

class RetriableError extends Error {}

await fetchEventSource(url, {
  onmessage: ({ event, id, data }) => print({ type: event, id, data }),
  onclose() {
    throw new RetriableError();
  },
  onerror(error) {
    console.error("reconnecting after:", error);
  },
});
