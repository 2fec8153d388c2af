// Web Locks for tests in Node: https://w3c.github.io/web-locks/, without shared locks, `ifAvailable` and queries.

export class LockManager {
  /** Calls the function that tells a holder that its lock was stolen. A test may do so later. */
  tell = (call) => call();
  #held = new Map();
  #queues = new Map();

  request(name, options, callback) {
    return new Promise((resolve, reject) => {
      const request = { callback, resolve, reject };
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      if (options.steal) {
        const holder = this.#held.get(name);
        if (holder) this.tell(() => holder.reject(new DOMException("stolen", "AbortError")));
        this.#grant(name, request);
        return;
      }
      options.signal?.addEventListener("abort", () => {
        if (!queue.includes(request)) return;
        queue.splice(queue.indexOf(request), 1);
        reject(new DOMException("aborted", "AbortError"));
      });
      queue.push(request);
      queueMicrotask(() => this.#next(name));
    });
  }

  #next(name) {
    if (this.#held.has(name)) return;
    const request = this.#queues.get(name).shift();
    if (request) this.#grant(name, request);
  }

  #grant(name, request) {
    this.#held.set(name, request);
    const done = (settle) => (value) => {
      settle(value);
      // It may have been stolen.
      if (this.#held.get(name) !== request) return;
      this.#held.delete(name);
      this.#next(name);
    };
    Promise.resolve(request.callback({ name })).then(done(request.resolve), done(request.reject));
  }
}
