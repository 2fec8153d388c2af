// Sources of streams, and what reads them.

/** A stream of strings that the test writes. */
export function testingStream() {
  let controller;
  const readable = new ReadableStream({
    start(given) {
      controller = given;
    },
  });
  return {
    readable,
    write: (chunk) => controller.enqueue(chunk),
    close: () => controller.close(),
    fail: (error) => controller.error(error),
  };
}

const readers = new WeakMap();

/** Reads a stream to its end, or this number of chunks of it; a later call goes on. */
export async function read(stream, chunks = Number.POSITIVE_INFINITY) {
  if (!stream) throw new Error(`not a stream: ${stream}`);
  if (!readers.has(stream)) readers.set(stream, stream.getReader());
  let text = "";
  for (let n = 0; n < chunks; n += 1) {
    const { done, value } = await readers.get(stream).read();
    if (done) break;
    text += value;
  }
  return text;
}

/** Reads a stream until it fails; returns the text before, and the error. */
export async function readFailure(stream) {
  const reader = stream.getReader();
  let text = "";
  for (;;) {
    try {
      const { done, value } = await reader.read();
      if (done) throw new Error(`the stream ended, and has not failed: ${text}`);
      text += value;
    } catch (error) {
      return { text, error };
    }
  }
}
