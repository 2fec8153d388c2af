import { type End, StreamEndedError } from "./errors.js";
import { follow } from "./follow.js";
import type { Streams } from "./streams.js";
import { Decoding } from "./text.js";

/**
 * Returns the text of a stored stream from an offset on. Requests are made when it is read, so one that is never read holds
 * nothing.
 *
 * It ends with the stream, also if that was cancelled, and fails with a {@link StreamEndedError} if the stream has failed.
 *
 * @param skip UTF-16 code units that are left out
 */
export function storedText(streams: Streams, name: string, from: string, skip = 0): ReadableStream<string> {
  const stop = new AbortController();
  const parts = follow(streams, name, from, stop.signal);
  const decoding = new Decoding(skip);
  let end: End | undefined;
  return new ReadableStream<string>(
    {
      async pull(controller) {
        while (!end) {
          const part = await parts.next();
          if (part.done) end = part.value;
          const text = part.done ? decoding.end() : decoding.decode(part.value);
          // The end is for the next call: an error would take the place of what is not read yet.
          if (text) return controller.enqueue(text);
        }
        if (end.kind === "error") controller.error(new StreamEndedError(end));
        else controller.close();
      },
      cancel(reason) {
        stop.abort(reason ?? new DOMException("the reader has left", "AbortError"));
        // Settles once the request in progress has been aborted.
        parts.return({ kind: "cancelled", reason: undefined }).catch(() => {});
      },
    },
    { highWaterMark: 0 },
  );
}
