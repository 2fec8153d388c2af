import { FanfareError } from "./errors.js";

/** A response that is no stream, with the members of its `application/problem+json` (RFC 9457) if it has them. */
export class ProblemError extends FanfareError {
  /** HTTP status. */
  declare readonly status: number;
  /** URI reference of the problem type, such as `/v1/problems#no-grant`; `about:blank` if the response has none. */
  declare readonly type: string;
  /** What is wrong with this request. */
  declare readonly detail: string | undefined;
  /** Milliseconds that the server asks to wait (`Retry-After`). */
  declare readonly retryAfter: number | undefined;

  constructor(status: number, problem: Record<string, unknown> = {}, retryAfter?: number) {
    const text = (name: string) => (typeof problem[name] === "string" ? (problem[name] as string) : undefined);
    const detail = text("detail");
    const code = text("code") ?? `http-${status}`;
    super(code, `${status} ${text("title") ?? code}${detail ? `: ${detail}` : ""}`);
    this.name = "ProblemError";
    this.status = status;
    this.type = text("type") ?? "about:blank";
    this.detail = detail;
    this.retryAfter = retryAfter;
  }
}

/** Returns the problem that a response describes. Reads its body. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const problem = await response.json().catch(() => {});
  return new ProblemError(response.status, Object(problem), retryAfter(response.headers.get("retry-after")));
}

/** Returns the milliseconds of a `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. */
export function retryAfter(value: string | null): number | undefined {
  if (!value) return undefined;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return wait >= 0 ? wait : undefined;
}
