import { ResumableStreamError } from "./errors.js";
import { behind } from "./offset.js";
import { type CreateResumableStreamContextOptions, type MakeStream, settingsOf } from "./options.js";
import { endHeaders } from "./outbox.js";
import { creation, Production } from "./production.js";
import { storedText } from "./stored.js";
import { endOf, errorOf, nameOf, Streams } from "./streams.js";

/** How often a creation or a resumption that others interfere with is tried. */
const TRIES = 5;

/** Options of {@link ResumableStreamContext.cancelStream}. */
export interface CancelOptions {
  /** Text behind what the producer has stored, such as the last event of a protocol. */
  last?: string;
}

/** Creates, resumes and ends streams. Made by {@link createResumableStreamContext}. */
export interface ResumableStreamContext {
  /**
   * Creates a stream, or resumes it if there is one: one of several callers creates it, and only its `makeStream` is called.
   *
   * @param skipCharacters UTF-16 code units that are left out when the stream is resumed
   * @returns `null` if the stream has ended, unless `replayDone` is set
   */
  resumableStream(id: string, makeStream: MakeStream, skipCharacters?: number): Promise<ReadableStream<string> | null>;
  /**
   * Resumes a stream: its text from the start, without the skipped characters, and then as it comes.
   *
   * @returns `undefined` if there is no such stream; `null` if it has ended, unless `replayDone` is set
   */
  resumeExistingStream(id: string, skipCharacters?: number): Promise<ReadableStream<string> | null | undefined>;
  /**
   * Creates a stream, in the place of one that has this id. The source is read to its end, whether or not the returned stream is.
   *
   * @param skipCharacters ignored, as there is nothing to resume
   */
  createNewResumableStream(id: string, makeStream: MakeStream, skipCharacters?: number): Promise<ReadableStream<string>>;
  /** Returns whether there is a stream: `null` if not, `true` while it goes on, `"DONE"` when it has ended, in whichever way. */
  hasExistingStream(id: string): Promise<null | true | "DONE">;
  /**
   * Ends a stream as `cancelled`, whichever process produces it. Its producer's signal is aborted, and its readers' streams end.
   *
   * @param reason visible ASCII, at most 256 characters
   * @returns `null` if there is no such stream, `true` if it is cancelled now, `"DONE"` if it has ended otherwise
   */
  cancelStream(id: string, reason?: string, options?: CancelOptions): Promise<null | true | "DONE">;
  /** Returns the URL of the stream of an id, at which Fanfare serves it to readers without this package. */
  streamUrl(id: string): string;
}

class Context implements ResumableStreamContext {
  readonly #streams: Streams;
  readonly #waitUntil: CreateResumableStreamContextOptions["waitUntil"];

  constructor(options: CreateResumableStreamContextOptions) {
    this.#streams = new Streams(settingsOf(options));
    this.#waitUntil = options.waitUntil;
  }

  async resumableStream(id: string, makeStream: MakeStream, skipCharacters = 0): Promise<ReadableStream<string> | null> {
    const name = this.#name(id);
    for (let n = 0; n < TRIES; n += 1) {
      // Not first of all: it would renew the lease of a producer that is lost.
      const resumed = await this.#resume(name, skipCharacters);
      if (resumed !== undefined) return resumed;
      const answer = await this.#streams.ask(name, { method: "PUT", headers: creation(this.#streams) });
      if (answer.status === 201) return this.#produce(id, name, answer.headers, makeStream);
      // Another caller has created it.
      if (answer.status !== 200 && answer.status !== 409) throw errorOf(answer);
    }
    throw new ResumableStreamError("unavailable", `the stream ${id} is created and deleted again and again`);
  }

  async resumeExistingStream(id: string, skipCharacters = 0): Promise<ReadableStream<string> | null | undefined> {
    return this.#resume(this.#name(id), skipCharacters);
  }

  async createNewResumableStream(id: string, makeStream: MakeStream, _skipCharacters?: number): Promise<ReadableStream<string>> {
    const name = this.#name(id);
    for (let n = 0; n < TRIES; n += 1) {
      const answer = await this.#streams.ask(name, { method: "PUT", headers: creation(this.#streams) });
      // After an attempt without an answer, a stream without bytes is this caller's.
      const isOwn = answer.status === 200 && answer.isRepeat && /_0+$/.test(answer.headers.get("stream-next-offset") ?? "");
      if (answer.status === 201 || isOwn) return this.#produce(id, name, answer.headers, makeStream);
      if (answer.status !== 200 && answer.status !== 409) throw errorOf(answer);
      const removed = await this.#streams.ask(name, { method: "DELETE" });
      if (removed.status >= 400 && removed.status !== 404) throw errorOf(removed);
    }
    throw new ResumableStreamError("unavailable", `the stream ${id} is created again and again`);
  }

  async hasExistingStream(id: string): Promise<null | true | "DONE"> {
    return this.#inspect(this.#name(id));
  }

  async cancelStream(id: string, reason?: string, { last }: CancelOptions = {}): Promise<null | true | "DONE"> {
    const answer = await this.#streams.ask(this.#name(id), {
      method: "POST",
      headers: { "content-type": this.#streams.settings.contentType, ...endHeaders({ kind: "cancelled", reason }) },
      ...(last && { body: new TextEncoder().encode(last) }),
    });
    const end = endOf(answer.headers);
    if (end) return end.kind === "cancelled" ? true : "DONE";
    if (answer.status === 404 || answer.status === 410) return null;
    throw errorOf(answer);
  }

  streamUrl(id: string): string {
    return this.#streams.url(this.#name(id));
  }

  #name(id: string): string {
    return nameOf(this.#streams.settings.keyPrefix, id);
  }

  async #inspect(name: string): Promise<null | true | "DONE"> {
    const answer = await this.#streams.ask(name, { method: "HEAD" });
    if (answer.status === 404 || answer.status === 410) return null;
    if (answer.status !== 200) throw errorOf(answer);
    return endOf(answer.headers) ? "DONE" : true;
  }

  async #resume(name: string, skip: number): Promise<ReadableStream<string> | null | undefined> {
    const found = await this.#inspect(name);
    if (found === null) return undefined;
    if (found === "DONE" && !this.#streams.settings.replayDone) return null;
    return storedText(this.#streams, name, "-1", skip);
  }

  #produce(id: string, name: string, headers: Headers, makeStream: MakeStream): Promise<ReadableStream<string>> {
    const start = headers.get("stream-next-offset") ?? "";
    const production = new Production(this.#streams, id, name, behind(start, 0));
    this.#waitUntil?.(production.done);
    return production.begin(makeStream);
  }
}

/** Creates a context, from which streams are created and resumed. It holds no connections. */
export function createResumableStreamContext(options: CreateResumableStreamContextOptions): ResumableStreamContext {
  const context = new Context(options);
  // Functions that work without their object, too.
  return {
    resumableStream: (...call) => context.resumableStream(...call),
    resumeExistingStream: (...call) => context.resumeExistingStream(...call),
    createNewResumableStream: (...call) => context.createNewResumableStream(...call),
    hasExistingStream: (...call) => context.hasExistingStream(...call),
    cancelStream: (...call) => context.cancelStream(...call),
    streamUrl: (...call) => context.streamUrl(...call),
  };
}

/**
 * Resumes a stream.
 *
 * @returns `null` if the stream has ended, unless `replayDone` is set
 * @throws ResumableStreamError `not-found` if there is no such stream
 */
export async function resumeStream(
  context: ResumableStreamContext | CreateResumableStreamContextOptions,
  id: string,
  skipCharacters?: number,
): Promise<ReadableStream<string> | null> {
  const streams = "resumeExistingStream" in context ? context : createResumableStreamContext(context);
  const stream = await streams.resumeExistingStream(id, skipCharacters);
  if (stream === undefined) throw new ResumableStreamError("not-found", `there is no stream ${id}`);
  return stream;
}
