/**
 * Calls functions when the page or the network changes, until the signal aborts. Where there is no page, it does nothing.
 *
 * @param suspend the page is going to be frozen, kept in the back/forward cache, or unloaded
 * @param resume the page is back
 * @param wake the page became visible, or the network is back
 */
export function watchPage(signal: AbortSignal, suspend: () => void, resume: () => void, wake: (online: boolean) => void): void {
  const { document } = globalThis;
  const listen = (target: EventTarget | undefined, type: string, listener: () => void) =>
    target?.addEventListener?.(type, listener, { signal });
  listen(globalThis, "pagehide", suspend);
  // Always, not only if `persisted`: engines differ in what they say.
  listen(globalThis, "pageshow", resume);
  listen(globalThis, "online", () => wake(true));
  listen(document, "freeze", suspend);
  listen(document, "resume", resume);
  listen(document, "visibilitychange", () => document.visibilityState === "visible" && wake(false));
}
