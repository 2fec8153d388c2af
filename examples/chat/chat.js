// The calls of the stock `useChat`: send, resume, stop. An answer is a finite stream, so any server resumes and stops those of
// the others.

import { createResumableStreamContext, StreamEndedError } from "@fanfare/resumable";
import {
  convertToModelMessages,
  createUIMessageStreamResponse,
  generateId,
  streamText,
  toUIMessageStream,
  UI_MESSAGE_STREAM_HEADERS,
} from "ai";
import { load, save } from "./chats.js";
import { model } from "./model.js";

const streams = createResumableStreamContext({
  waitUntil: null,
  keyPrefix: "chat",
  contentType: "text/event-stream",
  url: process.env.RESUMABLE_STREAM_URL ?? "http://127.0.0.1:8080",
  lease: Number(process.env.LEASE ?? 15),
  // An answer whose server was lost is not among the messages. Its stream has what there was of it.
  replayDone: true,
});

/** The stream of the answer to the last of these messages: no other record is needed of what is active. */
const answerTo = (id, messages) => `${id}.${messages.length}`;

const event = (part) => `data: ${typeof part === "string" ? part : JSON.stringify(part)}\n\n`;

/** `POST /api/chat`: answers a message. */
export async function send({ id, message }) {
  const messages = [...(await load(id)), message];
  await save(id, messages);
  const stop = new AbortController();
  const result = streamText({ model, messages: await convertToModelMessages(messages), abortSignal: stop.signal });
  return createUIMessageStreamResponse({
    stream: toUIMessageStream({
      stream: result.stream,
      originalMessages: messages,
      generateMessageId: generateId,
      onEnd: ({ messages }) => save(id, messages),
    }),
    async consumeSseStream({ stream }) {
      await streams.createNewResumableStream(answerTo(id, messages), ({ signal }) => {
        signal.addEventListener("abort", () => stop.abort(signal.reason));
        return stream;
      });
    },
  });
}

/** `GET /api/chat/<id>/stream`: the answer in progress, or the one that was not finished, from its first word on; 204 without one. */
export async function resume(id) {
  const messages = await load(id);
  const answered = messages.at(-1)?.role !== "user";
  const stream = answered ? undefined : await streams.resumeExistingStream(answerTo(id, messages));
  if (!stream) return new Response(null, { status: 204 });
  return new Response(withError(stream).pipeThrough(new TextEncoderStream()), { headers: UI_MESSAGE_STREAM_HEADERS });
}

/** `POST /api/chat/<id>/stop`: stops the answer, whichever server gives it. */
export async function stop(id) {
  const last = event({ type: "abort", reason: "user" }) + event("[DONE]");
  await streams.cancelStream(answerTo(id, await load(id)), "stopped by the user", { last });
  return new Response(null, { status: 204 });
}

/** Passes a stream on. Its failure becomes an event, from which `useChat` takes its error. */
function withError(stream) {
  return ReadableStream.from(
    (async function* parts() {
      try {
        yield* stream;
      } catch (error) {
        if (!(error instanceof StreamEndedError)) throw error;
        yield event({ type: "error", errorText: `The answer is incomplete: ${error.reason ?? "it has failed"}.` });
      }
    })(),
  );
}
