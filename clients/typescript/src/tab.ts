import type { Item } from "./event.js";
import { Lead } from "./lead.js";
import { type Beat, type Hello, type Message, type News, type Plain, plain, plainState, revived } from "./message.js";
import { Seen } from "./seen.js";
import { uuid } from "./session.js";
import { changed, type Place, type Settings, type Sink, type Source } from "./source.js";
import type { State } from "./state.js";
import { Stream } from "./stream.js";

/** Milliseconds between the calls of a tab that hears nothing of the leader. */
const TICK = 1_000;
/** Calls without answer before a tab takes the lead. Ticks are counted, not time: a tab that was frozen itself takes nothing. */
const PATIENCE = 2;
/** Milliseconds after which a leader knows what the other tabs follow. */
const SETTLED = 5_000;
/** Cursors that a tab remembers. */
const RECENT = 100;

/**
 * One tab of those that share a stream. It leads, or takes what the leader passes, or has its own stream until it is where the leader
 * is: it joins a leader only if it has been at the leader's cursor itself. What it gets twice then, it knows by the positions.
 */
export class Tab implements Source {
  channels: readonly string[];
  readonly #name: string;
  readonly #sink: Sink;
  readonly #stream: Stream;
  readonly #id = uuid();
  /** Whether a client without a place wants events from before it joins. */
  readonly #wantsOld: boolean;
  /** Present while open. */
  #bus: BroadcastChannel | undefined;
  readonly #lead: Lead;
  /** The last leader's. */
  #term = 0;
  /** Whether this tab takes what the leader of this term passes. */
  #joined = false;
  /** Whether this tab's own stream is open. */
  #own = false;
  #cursor = "";
  /** Where this tab has been. */
  #recent: string[] = [];
  readonly #seen = new Seen();
  /** The channels of the leader's stream. */
  #led: readonly string[] | undefined;
  #state: Plain = {};
  /** The channels of the other tabs; only the leader's is complete. */
  readonly #tabs = new Map<string, readonly string[]>();
  #changes: { resolve(): void; reject(error: Error): void }[] = [];
  /** Ticks since the leader was heard. */
  #silent = 0;
  #ticker: ReturnType<typeof setInterval> | undefined;

  constructor(name: string, settings: Settings, sink: Sink) {
    this.#name = name;
    this.#sink = sink;
    this.channels = settings.channels;
    this.#lead = new Lead(name, {
      won: () => this.#begin(),
      lost: () => this.#lose(),
      denied: () => {
        // Then other tabs do not have it either.
        if (this.#bus) this.#bus.onmessage = null;
      },
    });
    this.#wantsOld = !!settings.last || (settings.after ?? "latest") !== "latest";
    this.#stream = new Stream(settings, {
      state: (state) => this.#streamed(state),
      item: (item) => {
        if (this.#lead.held) this.#post({ term: this.#term, item });
        this.#take(item);
      },
    });
  }

  open(place: Place): void {
    if (this.#bus) return;
    this.#bus = new BroadcastChannel(this.#name);
    this.#bus.onmessage = ({ data }) => this.#hear(data);
    this.#cursor = place || "";
    this.#recent = [this.#cursor];
    this.#silent = 0;
    this.#ticker = setInterval(() => this.#tick(), TICK);
    this.#enter({ name: "connecting", attempt: 0 });
    this.#lead.compete();
    this.#hello();
  }

  suspend(): void {
    clearInterval(this.#ticker);
    this.#post({ hello: this.#id });
    this.#bus?.close();
    this.#bus = undefined;
    this.#own = this.#joined = false;
    this.#stream.suspend();
    this.#lead.giveUp();
  }

  close(): void {
    this.suspend();
    this.#stream.close();
    this.#settle();
  }

  follow(add: readonly string[], remove: readonly string[]): Promise<void> {
    const before = this.channels;
    this.channels = changed(before, add, remove);
    const refused = (error: Error) => {
      this.channels = before;
      throw error;
    };
    if (this.#lead.held) return this.#serve().catch(refused);
    this.#hello();
    // What is followed no longer is not passed on: the leader's stream may leave it later.
    if (this.#own) return this.#stream.follow(add, []).catch(refused);
    if (!this.#bus || (this.#joined && this.#covered())) return Promise.resolve();
    return new Promise<void>((resolve, reject) => this.#changes.push({ resolve, reject })).catch(refused);
  }

  wake(online: boolean): void {
    if (this.#own) this.#stream.wake(online);
    else if (!online) this.#post({ wake: true });
  }

  #post(message: Message): void {
    this.#bus?.postMessage(message);
  }

  #hello(): void {
    this.#post({ hello: this.#id, channels: this.channels });
  }

  #tick(): void {
    if (this.#lead.held) return;
    if (this.#silent > PATIENCE) this.#lead.compete(true);
    else if (this.#silent || !this.#joined) this.#hello();
    this.#silent += 1;
  }

  #begin(): void {
    this.#term = Math.max(Date.now(), this.#term + 1);
    this.#tabs.clear();
    const stream = this.#stream;
    if (!this.#own) {
      stream.channels = this.#led ?? this.channels;
      stream.accepted = this.#led;
    }
    // First of all: tabs compare it with where they have been.
    this.#beat();
    this.#joined = false;
    this.#own = true;
    stream.open(this.#cursor);
    this.#serve().catch((error) => this.#refuse(error));
  }

  /** Another tab leads, because this one was frozen. Its own stream goes on until it has been where that tab is. */
  #lose(): void {
    if (!this.#lead.held) return;
    this.#lead.compete();
    this.#hello();
  }

  #beat(): void {
    if (!this.#lead.held) return;
    const channels = this.#stream.accepted ?? [];
    this.#post({ term: this.#term, cursor: this.#cursor, channels, state: this.#state });
  }

  #hear(message: Message): void {
    if ("term" in message) {
      // An earlier leader that was frozen does not know yet that it lost the lead.
      if (message.term >= this.#term) this.#heed(message);
    } else if ("refused" in message) {
      if (message.refused === this.#id) this.#refuse(revived(message.error));
    } else if (this.#lead.held) {
      if ("wake" in message) this.#stream.wake(false);
      if ("hello" in message) this.#meet(message);
    }
  }

  #heed(message: Beat | News): void {
    this.#lose();
    this.#silent = 0;
    if (message.term > this.#term) {
      this.#term = message.term;
      this.#joined = false;
      this.#hello();
    }
    if ("state" in message) this.#follow(message);
    else if (this.#joined) this.#take(message.item);
  }

  #follow({ cursor, channels, state }: Beat): void {
    this.#led = channels;
    const covered = this.#covered();
    const fresh = !this.#cursor && !this.#wantsOld;
    // The leader's stream has left a channel of this tab, which was frozen and did not say that it follows it.
    if (!covered && !this.#changes.length) this.#joined = false;
    if (!this.#joined) {
      // A leader without a place begins at the newest event, not where this tab was.
      this.#joined = covered && (fresh || (!!cursor && this.#recent.includes(cursor)));
      if (!this.#joined) {
        if (!fresh) this.#catchUp();
        else if (state.name !== "live") this.#show(state);
        return;
      }
      if (this.#own) this.#stream.suspend();
      this.#own = false;
      if (fresh) this.#take({ cursor });
    }
    if (covered) this.#settle();
    this.#show(state);
  }

  /** The leader's state is this tab's. */
  #show(state: Plain): void {
    if (state.name === "ended") this.suspend();
    if (JSON.stringify(state) !== JSON.stringify(this.#state)) {
      this.#enter((state.error ? { ...state, error: revived(state.error) } : state) as State);
    }
  }

  /** Opens a stream with the leader's channels, so that its cursors are comparable. */
  #catchUp(): void {
    const stream = this.#stream;
    const all = changed(this.#led ?? [], this.channels, []);
    const more = all.filter((channel) => !stream.channels.includes(channel));
    const less = stream.channels.filter((channel) => !all.includes(channel));
    if (!this.#own) {
      this.#own = true;
      stream.channels = all;
      stream.open(this.#cursor);
    } else if (more.length || less.length) stream.follow(more, less).catch(() => {});
  }

  #covered(): boolean {
    return this.channels.every((channel) => this.#led?.includes(channel));
  }

  /** The leader: a tab comes, changes its channels, asks whether this one is there, or goes. */
  #meet({ hello, channels }: Hello): void {
    this.#tabs.delete(hello);
    if (!channels) return;
    this.#tabs.set(hello, channels);
    this.#serve().catch(() => {});
    this.#beat();
  }

  /** The leader: follows what the tabs ask for. Channels that none asks for are left on this occasion. */
  #serve(): Promise<void> {
    const stream = this.#stream;
    const wanted = [...this.channels, ...[...this.#tabs.values()].flat()];
    const add = wanted.filter((channel) => !stream.channels.includes(channel));
    if (!add.length) return Promise.resolve();
    // Tabs that took part before this one led may still have to say what they follow.
    const settled = Date.now() - this.#term > SETTLED;
    const unused = stream.channels.filter((channel) => settled && !wanted.includes(channel));
    return stream.follow(add, unused).catch((error) => {
      for (const [refused, channels] of this.#tabs) {
        if (!channels.some((channel) => add.includes(channel))) continue;
        this.#tabs.set(refused, changed(channels, [], add));
        this.#post({ refused, error: plain(error) });
      }
      throw error;
    });
  }

  /** The server refuses this tab's channels. Without `follow`, they are those that it began with. */
  #refuse(error: Error): void {
    if (this.#changes.length) this.#settle(error);
    else if (!this.#joined && (this.#lead.held || !this.#own)) {
      this.suspend();
      this.#enter({ name: "ended", error });
    }
  }

  #settle(error?: Error): void {
    for (const { resolve, reject } of this.#changes.splice(0)) error ? reject(error) : resolve();
  }

  #streamed(state: State): void {
    const { name } = state;
    this.#state = plainState(state);
    this.#beat();
    if (name === "ended") this.suspend();
    if (name === "live") this.#settle();
    this.#sink.state(state);
    if (name === "live" && this.#lead.held) this.#serve().catch(() => {});
  }

  #enter(state: State): void {
    this.#state = plainState(state);
    this.#sink.state(state);
  }

  #take(item: Item): void {
    const { cursor, event, gap } = item;
    const channel = (event ?? gap)?.channel;
    this.#cursor = cursor;
    this.#recent.push(cursor);
    if (this.#recent.length > RECENT) this.#recent.shift();
    const followed = this.#own ? this.#stream.channels : this.#led;
    const foreign = channel && followed?.includes(channel) && !this.channels.includes(channel);
    this.#sink.item(this.#seen.repeats(item) || foreign ? { cursor } : item, cursor);
  }
}
