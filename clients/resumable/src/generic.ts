/**
 * The same for programs that import `resumable-stream/generic`, which pass their own clients of Redis.
 *
 * @module
 */
import { createResumableStreamContext as create, type ResumableStreamContext } from "./context.js";
import type { CreateResumableStreamContextOptions } from "./options.js";

export * from "./index.js";

/**
 * Creates a context, as that of the package does.
 *
 * @throws TypeError if neither `url` nor `publisher` and `subscriber` are given
 */
export function createResumableStreamContext(options: CreateResumableStreamContextOptions): ResumableStreamContext {
  const { url, publisher, subscriber } = options;
  if (!url && !(publisher && subscriber)) throw new TypeError("give url, or publisher and subscriber");
  return create(options);
}
