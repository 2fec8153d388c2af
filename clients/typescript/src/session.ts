import { acquire } from "./lock.js";
import { storage } from "./store.js";

/** How long a page waits for the lock of its session: the page before it, which a reload replaced, may still have it. */
const RELOAD = 250;

/** Returns a random UUID, also where `crypto.randomUUID` is missing because the page has no TLS. */
export function uuid(): string {
  const digit = (c: string) => (+c ^ (crypto.getRandomValues(new Uint8Array(1))[0]! & (15 >> (+c / 4)))).toString(16);
  return "10000000-1000-4000-8000-100000000000".replace(/[018]/g, digit);
}

/**
 * The id of a client's session.
 *
 * With a key the id is kept in `sessionStorage`, so that a reloaded page is the same session. Browsers copy `sessionStorage`
 * into a duplicated tab; two tabs with one session would end each other's stream. So the id belongs to the page that has its
 * Web Lock, and a page without the lock takes another id.
 */
export class Session {
  readonly #chosen: string | undefined;
  readonly #key: string | undefined;
  #id: string | undefined;
  #release: (() => void) | undefined;

  constructor(chosen: string | undefined, key: string | undefined) {
    this.#chosen = chosen;
    this.#key = globalThis.navigator?.locks && key;
  }

  async id(): Promise<string> {
    if (this.#chosen) return this.#chosen;
    if (this.#key && !this.#release) {
      const stored = this.#id ?? storage("sessionStorage")?.getItem(this.#key);
      if (!(stored && (await this.#lock(stored)))) await this.#lock(uuid());
    }
    return (this.#id ??= uuid());
  }

  /** Gives the id back, for the page that replaces this one. */
  release(): void {
    this.#release?.();
    this.#release = undefined;
  }

  /** Another connection has taken the session. Returns whether there is another id. */
  renew(): boolean {
    this.release();
    this.#id = uuid();
    return !this.#chosen;
  }

  async #lock(id: string): Promise<boolean> {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), RELOAD);
    try {
      const release = await acquire(`fanfare session ${id}`, { signal: patience.signal });
      this.release();
      this.#release = release;
      this.#id = id;
      storage("sessionStorage")?.setItem(this.#key as string, id);
      return true;
    } catch {
      return false;
    } finally {
      clearTimeout(timer);
    }
  }
}
