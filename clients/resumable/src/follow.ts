import { type End, RequestError } from "./errors.js";
import { beginning, behind } from "./offset.js";
import { Backoff, pause } from "./pause.js";
import { endOf, passes, type Streams } from "./streams.js";

/** Milliseconds without bytes after which a node is asked whether there are any: a connection may be dead without notice. */
const SILENCE = 15_000;

/** Milliseconds after which the end of a connection is no failure. */
const LASTING = 5_000;

/**
 * Yields the bytes of a stream from an offset on, over connections that break and nodes that stop, and returns how it has ended.
 *
 * What has been appended is read in pages, whose answers say whether the stream has ended. The rest comes as the bytes of one
 * response, `live=raw`. After its end, however it came about, the next page is asked for, from the last byte on.
 *
 * @param from `-1`, `now` or an offset
 * @throws RequestError if there is no such stream, or it was deleted meanwhile, or no node answers for `retryFor` milliseconds;
 * the reason of the signal
 */
export async function* follow(
  streams: Streams,
  name: string,
  from: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, End, void> {
  const backoff = new Backoff();
  let offset = from;
  let answered = Date.now();
  /** Connections in a row without bytes. The first is no reason to wait: its end may be that of the stream. */
  let tries = 0;
  const isCurrent = async () => {
    const { status, headers } = await streams.ask(name, { method: "HEAD", signal });
    return status === 200 && !endOf(headers) && headers.get("stream-next-offset") === offset;
  };
  for (;;) {
    signal.throwIfAborted();
    const abort = new AbortController();
    const stop = () => abort.abort(signal.reason);
    signal.addEventListener("abort", stop);
    const began = Date.now();
    let got = 0;
    try {
      for (const mode of ["", "&live=raw"]) {
        // A response whose headers do not come is as silent as one whose bytes do not.
        const response = await whileAlive(streams.open(name, `offset=${offset}${mode}`, abort.signal), isCurrent);
        if (!response) break;
        const next = response.headers.get("stream-next-offset") ?? offset;
        if (offset === "-1") offset = beginning(next);
        else if (offset === "now") offset = next;
        const body = response.body?.getReader();
        for (
          let read = await whileAlive(body?.read(), isCurrent);
          read && !read.done;
          read = await whileAlive(body?.read(), isCurrent)
        ) {
          got += read.value.length;
          offset = behind(offset, read.value.length);
          yield read.value;
        }
        if (mode) break;
        offset = next;
        answered = Date.now();
        const end = endOf(response.headers);
        if (end) return end;
        if (response.headers.get("stream-up-to-date") !== "true") break;
      }
    } catch (error) {
      signal.throwIfAborted();
      const isRefused = error instanceof RequestError && !passes(error.status);
      if (isRefused || Date.now() - answered > streams.settings.retryFor) throw error;
    } finally {
      signal.removeEventListener("abort", stop);
      abort.abort();
    }
    if (got || Date.now() - began > LASTING) {
      backoff.reset();
      tries = 0;
    } else if (tries++) await pause(backoff.next(), signal);
  }
}

/** Waits for a promise, and asks now and then whether that is worth it. Returns `undefined` once it is not. */
async function whileAlive<Value>(promise: Promise<Value> | undefined, isAlive: () => Promise<boolean>): Promise<Value | undefined> {
  for (;;) {
    const silence = new AbortController();
    try {
      const value = await Promise.race([promise, pause(SILENCE, silence.signal).then(() => silence)]);
      if (value !== silence) return value as Value;
    } finally {
      silence.abort();
    }
    if (!(await isAlive())) {
      promise?.catch(() => {});
      return undefined;
    }
  }
}
