import { acquire } from "./lock.js";

/** What a tab does when its right to lead changes. */
interface Listener {
  won(): void;
  /** Another tab has taken it. */
  lost(): void;
  /** The browser denies locks. `won` follows: each tab leads itself. */
  denied(): void;
}

/** The right to lead the tabs that share a stream: a Web Lock. */
export class Lead {
  readonly #name: string;
  readonly #listener: Listener;
  /** Ends the wait for the lock. */
  #queue = new AbortController();
  #release: (() => void) | undefined;

  constructor(name: string, listener: Listener) {
    this.#name = name;
    this.#listener = listener;
  }

  get held(): boolean {
    return !!this.#release;
  }

  /** Waits for the lock, or takes it from a leader that is frozen. */
  compete(steal?: true): void {
    this.giveUp();
    const { signal } = (this.#queue = new AbortController());
    const won = (release: () => void) => {
      if (signal.aborted) {
        release();
        return;
      }
      this.#release = release;
      this.#listener.won();
    };
    const lost = () => signal.aborted || this.#listener.lost();
    acquire(this.#name, steal ? { steal } : { signal }, lost).then(
      (release) => this.#afterwards(() => won(release)),
      () => {
        if (signal.aborted) return;
        this.#listener.denied();
        won(() => {});
      },
    );
  }

  giveUp(): void {
    this.#queue.abort();
    this.#release?.();
    this.#release = undefined;
  }

  /** Calls a function when all has arrived that other tabs said until now: the lock may come before the last words of a leader. */
  #afterwards(call: () => void): void {
    const echo = new BroadcastChannel(this.#name);
    const sender = new BroadcastChannel(this.#name);
    echo.onmessage = () => {
      echo.close();
      sender.close();
      call();
    };
    sender.postMessage({});
  }
}
