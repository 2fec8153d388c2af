/**
 * One stream for all tabs of a browser.
 *
 * @module
 */
import type { Share } from "./source.js";
import { Stream } from "./stream.js";
import { Tab } from "./tab.js";

/**
 * Makes clients with the same URL and name share one stream, in all tabs of this origin: `connect(url, { share: tabs(user) })`.
 *
 * One tab leads: it has the Web Lock of the stream, and passes what arrives to the others over a `BroadcastChannel`. Where the browser
 * lacks either, each client has its own stream.
 *
 * @param name distinguishes streams of one URL: the id of the user, if users can change while tabs stay open
 */
export function tabs(name = ""): Share {
  return (settings, sink) => {
    const shared = globalThis.navigator?.locks && globalThis.BroadcastChannel;
    return shared ? new Tab(`fanfare ${[settings.url, name]}`, settings, sink) : new Stream(settings, sink);
  };
}
