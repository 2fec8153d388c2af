import { PublishError } from "./errors.js";
import { newKey } from "./key.js";

/** An event to be published. */
export interface NewEvent {
  /** 1 to 255 ASCII letters, digits and `-_.:@|/+=~%$!#&;`. */
  channel: string;
  /** 1 to 128 bytes without CR, LF and NUL; subscribers of an event without a type get `message`. */
  type?: string | undefined;
  /** A string is sent as it is, bytes as their UTF-8 text, any other value as JSON. */
  data: unknown;
  /**
   * Idempotency key: of the events of a channel with the same key, only the first is stored. 1 to 128 bytes without control
   * characters. Without it the event gets a new one. Give one that the application can make again, such as `order-7-paid`,
   * if the same event may be published by another call too.
   */
  key?: string | undefined;
  /** When the event is worth nothing any more: a date, or Unix milliseconds. It is not sent after that. */
  until?: Date | number | undefined;
  /** The session that does not get the event: `<user>/<session>`, or `<session>` of a client without a user. */
  except?: string | undefined;
  /** Takes the event back: it is not sent any more. */
  signal?: AbortSignal | undefined;
}

/** A checked event, as a transport sends it. */
export interface Publication {
  readonly channel: string;
  readonly type: string | undefined;
  readonly data: string;
  readonly key: string;
  /** Unix milliseconds. */
  readonly until: number | undefined;
  readonly except: string | undefined;
}

const RESERVED = "connected disconnected shutdown superseded gap overloaded expired excepted end error open".split(" ");

const SESSION = /^([\w\-.:@|/+=~%$!#&;]{1,250}\/)?[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Returns the length of a text in bytes of UTF-8. */
export const bytes = (text: string): number => encoder.encode(text).length;

/**
 * Checks an event as a node would.
 *
 * @param maxData the maximum size of its data, in bytes
 * @throws PublishError with the code that the node would answer with
 */
export function check(event: NewEvent, maxData: number): Publication {
  const { channel, type, until, except } = event;
  const key = event.key ?? newKey();
  const refuse = (code: "bad-channel" | "bad-event" | "too-large", message: string): never => {
    throw new PublishError(code, message, { channel, key });
  };
  if (typeof channel !== "string" || !/^[\w\-.:@|/+=~%$!#&;]{1,255}$/.test(channel)) {
    refuse("bad-channel", "the channel must have 1 to 255 ASCII letters, digits and -_.:@|/+=~%$!#&;");
  }
  if (type !== undefined && !isText(type, 128, /[\r\n\0]/)) {
    refuse("bad-event", "the type must have 1 to 128 bytes of one line, without NUL; omit it for a plain message");
  }
  if (type !== undefined && RESERVED.includes(type)) refuse("bad-event", `the type "${type}" is reserved`);
  if (!isText(key, 128, /\p{Cc}/u)) refuse("bad-event", "the key must have 1 to 128 bytes without control characters");
  const time = until === undefined ? undefined : Number(until);
  if (time !== undefined && !(Number.isSafeInteger(time) && time >= 0)) {
    refuse("bad-event", "until must be a date, or whole Unix milliseconds");
  }
  if (except !== undefined && !(typeof except === "string" && SESSION.test(except))) {
    refuse("bad-event", "except must be <user>/<session>, or <session> of a client without a user");
  }
  const data = text(event.data);
  if (data === undefined) return refuse("bad-event", "the data must be a text, bytes of UTF-8, or a value that JSON has");
  const size = bytes(data);
  if (size > maxData) refuse("too-large", `the data has ${size} bytes; at most ${maxData} are allowed (maxDataBytes)`);
  return { channel, type, data, key, until: time, except };
}

function isText(text: unknown, longest: number, forbidden: RegExp): boolean {
  if (typeof text !== "string" || !text || !isWellFormed(text)) return false;
  return !forbidden.test(text) && bytes(text) <= longest;
}

/** Returns whether a text can be sent as UTF-8: half of a surrogate pair cannot. */
const isWellFormed = (text: string) => !/\p{Surrogate}/u.test(text);

/** Returns the text of an event's data, if it has one. */
function text(data: unknown): string | undefined {
  try {
    if (data instanceof Uint8Array) return decoder.decode(data);
    const text = typeof data === "string" ? data : JSON.stringify(data);
    return text !== undefined && isWellFormed(text) ? text : undefined;
  } catch {
    return undefined;
  }
}
