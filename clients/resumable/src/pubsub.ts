/** What `resumable-stream` takes for a client of Redis. Only its type is used here. */
export interface Subscriber {
  connect: () => Promise<unknown>;
  subscribe: (channel: string, callback: (message: string) => void) => Promise<unknown>;
  unsubscribe: (channel: string) => Promise<unknown>;
}

/** What `resumable-stream` takes for a client of Redis. Only its type is used here. */
export interface Publisher {
  connect: () => Promise<unknown>;
  publish: (channel: string, message: string) => Promise<unknown>;
  set: (key: string, value: string, options?: { EX?: number }) => Promise<unknown>;
  get: (key: string) => Promise<string | number | null>;
  incr: (key: string) => Promise<number>;
}
