import { FanfareError } from "./errors.js";
import type { EventOf, FanfareEvent, Gap, Item } from "./event.js";
import { Queue } from "./iterator.js";
import { Listeners, type ListenOptions } from "./listeners.js";
import { type Options, settingsOf } from "./options.js";
import { watchPage } from "./page.js";
import type { Place, Source } from "./source.js";
import type { State } from "./state.js";
import { type Store, storeIn } from "./store.js";
import { Stream } from "./stream.js";

/** How long after the last `hold` a client stays open, in milliseconds: components come and go when a page changes. */
const HOLD = 200;

/**
 * A stream of events that keeps its place: over lost connections, stopped nodes, expired tokens, sleep and, if asked to,
 * page loads. Each event arrives once.
 *
 * Made by {@link connect} or {@link createClient}.
 */
export class Client<Events extends object = Record<string, unknown>> {
  readonly #options: Options;
  readonly #source: Source;
  readonly #store: Store | undefined;
  readonly #fail = (error: unknown) => {
    if (this.#errors.size) this.#errors.call(error);
    else report(error);
  };
  readonly #errors = new Listeners<[unknown]>(report);
  readonly #states = new Listeners<[State]>(this.#fail);
  readonly #gaps = new Listeners<[Gap]>(this.#fail);
  readonly #all = new Listeners<[EventOf<Events>]>(this.#fail);
  readonly #typed = new Map<string, Listeners<[never, never]>>();
  /** Adds a listener of every change of {@link state}. Returns a function that removes it. */
  readonly onState = this.#states.add;
  /** Adds a listener of gaps: events may be missing, and the application reloads what it derives from the channel. */
  readonly onGap = this.#gaps.add;
  /** Adds a listener of every event, whatever its type. */
  readonly onEvent = this.#all.add;
  /** Adds a listener of what `parse` and listeners throw. Without one, it goes to the global error handler. */
  readonly onError = this.#errors.add;
  #state: State = { name: "idle" };
  #cursor: string | undefined;
  #place: string | undefined;
  #saving = false;
  /** Ends the listeners of the page; present while open. */
  #open: AbortController | undefined;
  #holds = 0;
  #release: ReturnType<typeof setTimeout> | undefined;

  /** Opens nothing yet, so it may run on a server that renders pages. */
  constructor(url: string | URL, options: Options = {}) {
    const { resume, signal, share } = options;
    const settings = settingsOf(`${url}`, options);
    const sink = { state: (state: State) => this.#enter(state), item: (item: Item, place: string) => this.#take(item, place) };
    this.#options = options;
    this.#source = share ? share(settings, sink) : new Stream(settings, sink);
    this.#store = typeof resume === "string" ? storeIn(resume, settings.key) : resume;
    signal?.addEventListener("abort", () => this.close());
  }

  get state(): State {
    return this.#state;
  }

  /** The cursor after the last event: where another stream continues. */
  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** The channels in force, without the user's own and `broadcast`. */
  get channels(): readonly string[] {
    return this.#source.channels;
  }

  /** Opens the stream, or continues where it was closed. */
  open(): this {
    if (this.#open || this.#options.signal?.aborted) return this;
    const open = (this.#open = new AbortController());
    const source = this.#source;
    const suspend = () => {
      source.suspend();
      this.#enter({ name: "idle" });
    };
    const resume = () => source.open(this.#place);
    watchPage(open.signal, suspend, resume, (online) => source.wake(online));
    void this.#start(open);
    return this;
  }

  /** Ends the stream. Nothing arrives after this. */
  close(): void {
    if (!this.#open) return;
    this.#open.abort();
    this.#open = undefined;
    this.#source.close();
    this.#save();
    this.#enter({ name: "ended" });
  }

  /**
   * Keeps the client open until the returned function is called. The first hold opens it, and it closes shortly after the
   * last one. For components that share a client.
   */
  hold(): () => void {
    clearTimeout(this.#release);
    this.#holds += 1;
    this.open();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holds -= 1;
      if (!this.#holds) this.#release = setTimeout(() => this.close(), HOLD);
    };
  }

  /** Adds a listener of events of one type. Returns a function that removes it. */
  on<Type extends keyof Events & string>(
    type: Type,
    listener: (data: Events[Type], event: FanfareEvent<Events[Type], Type>) => void,
    options?: ListenOptions,
  ): () => void {
    let listeners = this.#typed.get(type);
    if (!listeners) this.#typed.set(type, (listeners = new Listeners(this.#fail)));
    return listeners.add(listener, options);
  }

  /**
   * Returns the events from now on, for a `for await` loop. The loop ends with the client, with its error if it has one. If the
   * loop falls behind by more than `buffer` events (1,000), it ends with the error `overflow` after those that it has.
   */
  events({ buffer = 1000, signal }: { buffer?: number } & ListenOptions = {}): AsyncIterableIterator<EventOf<Events>> {
    const stop = new AbortController();
    const queue = new Queue<EventOf<Events>>(buffer, () => stop.abort());
    const options = { signal: stop.signal };
    const ended = (state: State) => {
      if (state.name === "ended") queue.end(state.error);
    };
    this.onEvent((event) => queue.push(event), options);
    this.onState(ended, options);
    signal?.addEventListener("abort", () => queue.end(), options);
    if (signal?.aborted) queue.end();
    ended(this.#state);
    return queue;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<EventOf<Events>> {
    return this.events();
  }

  /**
   * Follows more channels. The stream is opened again from its cursor, so that nothing is lost, and nothing comes twice. Resolves
   * when events of the channels arrive. Rejects with a {@link ProblemError} if the server refuses them; the channels that
   * were in force stay so.
   */
  follow(...channels: string[]): Promise<void> {
    return this.#source.follow(channels, []);
  }

  /** Follows these channels no longer. Resolves when the stream is open without them. */
  unfollow(...channels: string[]): Promise<void> {
    return this.#source.follow([], channels);
  }

  async #start(open: AbortController): Promise<void> {
    let place: Place = this.#place;
    try {
      place ??= await this.#store?.load();
    } catch (error) {
      this.#fail(error);
    }
    if (this.#open === open) this.#source.open(place);
  }

  #enter(state: State): void {
    this.#state = state;
    if (state.name === "ended") {
      this.#open?.abort();
      this.#open = undefined;
    }
    this.#states.call(state);
  }

  #take({ cursor, event, gap }: Item, place: string): void {
    this.#cursor = cursor;
    this.#place = place;
    if (gap) this.#gaps.call(gap);
    if (event) {
      const parsed = this.#parse(event);
      if (parsed) {
        this.#typed.get(event.type)?.call(parsed.data as never, parsed as never);
        this.#all.call(parsed);
      }
    }
    if (this.#store && !this.#saving) {
      // Once for all events that came together.
      this.#saving = true;
      queueMicrotask(() => this.#save());
    }
  }

  #parse(event: FanfareEvent<string>): EventOf<Events> | undefined {
    try {
      return { ...event, data: (this.#options.parse ?? parse)(event.data, event) } as EventOf<Events>;
    } catch (cause) {
      this.#fail(new FanfareError("invalid-event", `invalid event of type ${event.type}`, { cause }));
    }
  }

  async #save(): Promise<void> {
    this.#saving = false;
    try {
      if (this.#place) await this.#store?.save(this.#place);
    } catch (error) {
      this.#fail(error);
    }
  }
}

/** Reads JSON; data that is no JSON is a string. */
function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

/** Gives an error to the global error handler, as an `EventTarget` does with what its listeners throw. */
function report(error: unknown): void {
  if ("reportError" in globalThis) reportError(error);
  else
    queueMicrotask(() => {
      throw error;
    });
}
