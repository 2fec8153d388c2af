/**
 * Publishing, for servers: keys, retries, batches, checks, and an end when it is too late. It has no part in the browser's client.
 *
 * @module
 */
export { PublishError, type PublishErrorCode, SendError } from "./publish/errors.js";
export type { NewEvent, Publication } from "./publish/event.js";
export { type HttpOptions, overHttp } from "./publish/http.js";
export { type PublishCounts, Publisher, type PublisherOptions } from "./publish/publisher.js";
export {
  type IORedisClient,
  type NodeRedisClient,
  overIntake,
  overRedis,
  type RedisClient,
  type RedisOptions,
} from "./publish/redis.js";
export type { PublishTransport, Receipt } from "./publish/transport.js";
