import { ProblemError as Problem, type ProblemError, problemOf } from "../problem.js";
import { SendError } from "./errors.js";
import type { Publication } from "./event.js";
import type { PublishTransport, Receipt } from "./transport.js";

/** Options of {@link overHttp}. */
export interface HttpOptions {
  /** The bearer token, an API key, or a function that returns one. The function is called for each request. */
  token?: string | (() => string | Promise<string>) | undefined;
  /** Further headers of each request. */
  headers?: Record<string, string> | undefined;
  /** Another `fetch`. */
  fetch?: typeof fetch | undefined;
}

/** Problems with status 503 of a node that has not given the event to Redis. */
const NOT_SENT = ["busy", "draining", "overloaded"];

/**
 * Publishes with `POST /v1/publish`.
 *
 * @param url the whole URL, at a node or a load balancer
 */
export function overHttp(url: string | URL, options: HttpOptions = {}): PublishTransport {
  const { fetch = globalThis.fetch, token } = options;
  return {
    async send(events, signal) {
      const bearer = typeof token === "function" ? await token() : token;
      const headers = {
        ...options.headers,
        "content-type": "application/json",
        ...(bearer && { authorization: `Bearer ${bearer}` }),
      };
      const body = JSON.stringify(events.map(({ channel, type, data, key, except }) => ({ channel, type, data, key, except })));
      const response = await fetch(url, { method: "POST", headers, body, signal });
      if (!response.ok) throw failure(await problemOf(response), typeof token === "function");
      const results: unknown = await response.json();
      if (!Array.isArray(results) || results.length !== events.length) throw new Error("the answer is not that of a node");
      return results.map((result, index) => resultOf(result, events[index] as Publication));
    },
  };
}

/** One item of a node's answer. */
interface Result {
  id?: string;
  repeat?: boolean;
  error?: { status: number };
}

/** Returns what a node says of one event of a batch. */
function resultOf(result: Result, event: Publication): Receipt | SendError {
  if (!result.error) return { key: event.key, id: String(result.id), repeat: result.repeat === true };
  return failure(new Problem(result.error.status, { ...result.error }), false);
}

function failure(problem: ProblemError, canRenewToken: boolean): SendError {
  const { status, code, retryAfter } = problem;
  const passes = status >= 500 ? status !== 501 : [408, 425, 429].includes(status);
  return new SendError(code, problem.message, {
    retry: passes || (status === 401 && canRenewToken),
    unknown: status >= 500 && !NOT_SENT.includes(code),
    retryAfter,
    cause: problem,
  });
}
