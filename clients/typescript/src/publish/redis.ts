import { SendError } from "./errors.js";
import type { Publication } from "./event.js";
import type { PublishTransport, Receipt } from "./transport.js";

/** A client of the package `redis`. */
export interface NodeRedisClient {
  readonly isReady: boolean;
  sendCommand(args: readonly string[], options?: { abortSignal?: AbortSignal }): Promise<unknown>;
}

/** A client of the package `ioredis`. */
export interface IORedisClient {
  readonly status: string;
  readonly options: { enableOfflineQueue?: boolean | undefined; autoResendUnfulfilledCommands?: boolean | undefined };
  call(command: string, ...args: string[]): Promise<unknown>;
}

/** The application's own client, connected to database 0. */
export type RedisClient = NodeRedisClient | IORedisClient;

/** Options of {@link overRedis} and {@link overIntake}. */
export interface RedisOptions {
  /** `redis.prefix` of the nodes. @defaultValue `fanfare` */
  prefix?: string | undefined;
}

/** Error codes of Redis after which another attempt may succeed. Redis did nothing. */
const PASSING = ["OOM", "LOADING", "MISCONF", "NOREPLICAS", "READONLY", "MASTERDOWN", "BUSY", "TRYAGAIN", "CLUSTERDOWN"];

/**
 * Publishes with the function `fanfare_publish` (FCALL): the answer has the event's position. Redis must run, and a node must have
 * run since Redis lost its data.
 *
 * @throws TypeError for a client of `ioredis` that keeps commands for its next connection: that could be after their `until`
 */
export function overRedis(client: RedisClient, { prefix = "fanfare" }: RedisOptions = {}): PublishTransport {
  if ("call" in client) {
    const { enableOfflineQueue = true, autoResendUnfulfilledCommands = true } = client.options;
    if (enableOfflineQueue || autoResendUnfulfilledCommands) {
      throw new TypeError("make the client of ioredis with enableOfflineQueue: false and autoResendUnfulfilledCommands: false");
    }
  }
  const spelling: Record<string, string> = { ":": "_", _: "__", "-": "___", ".": "____" };
  const name = `${prefix.replace(/[:_\-.]/g, (mark) => spelling[mark] as string)}_publish`;
  return transport(
    client,
    ({ channel, type, data, key, except }) => {
      const words = except === undefined ? [key] : [key, except];
      return ["FCALL", name, "1", `${prefix}:{${channel}}:log`, type ?? "", data, ...words];
    },
    ({ key }, reply) => {
      const [id, repeat] = reply as [string, number];
      return { key, id: String(id), repeat: Number(repeat) === 1 };
    },
  );
}

/** Publishes with the durable intake (XADD): Redis must run, and the nodes need not. They publish the entry later, or drop it after its `until`. */
export function overIntake(client: RedisClient, { prefix = "fanfare" }: RedisOptions = {}): PublishTransport {
  return transport(
    client,
    ({ channel, type, data, key, until, except }) => {
      const fields = { channel, type, data, key, until: until?.toString(), except };
      const present = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [name, value]));
      return ["XADD", `${prefix}:ingest`, "*", ...present];
    },
    ({ key }, reply) => ({ key, id: String(reply), repeat: false }),
  );
}

function transport(
  client: RedisClient,
  command: (event: Publication) => [string, ...string[]],
  receipt: (event: Publication, reply: unknown) => Receipt,
): PublishTransport {
  return {
    // Both clients write what is sent in one turn of the event loop together.
    send: (events, signal) =>
      Promise.all(events.map((event) => call(client, command(event), signal).then((reply) => receipt(event, reply), failure))),
  };
}

async function call(client: RedisClient, command: [string, ...string[]], signal: AbortSignal): Promise<unknown> {
  // A command that waits in a client for a connection could be sent after the event's `until`.
  const ready = "call" in client ? client.status === "ready" : client.isReady;
  if (!ready) throw new SendError("unavailable", "the client is not connected to Redis", { retry: true, unknown: false });
  return "call" in client ? client.call(...command) : client.sendCommand(command, { abortSignal: signal });
}

function failure(error: unknown): SendError {
  if (error instanceof SendError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = /^[A-Z]+(?= )/.exec(message)?.[0];
  // Not a reply of Redis: the connection broke.
  if (!code) return new SendError("unavailable", message, { retry: true, unknown: true, cause: error });
  // Redis lost its data, and no node has loaded the function again yet.
  const retry = PASSING.includes(code) || message === "ERR Function not found";
  return new SendError(retry ? "unavailable" : "refused", message, { retry, unknown: false, cause: error });
}
