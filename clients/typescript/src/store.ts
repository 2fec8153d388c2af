/** Keeps a client's place over page loads. */
export interface Store {
  /** Returns the place, if there is one. If this throws, the client reports it, and starts without a place. */
  load(): string | null | undefined | Promise<string | null | undefined>;
  /** Called after each event, or after several that came together. */
  save(place: string): void | Promise<void>;
}

/** Returns the browser's storage, or nothing where there is none or the user has blocked it. */
export function storage(name: "sessionStorage" | "localStorage"): Storage | undefined {
  try {
    return globalThis[name];
  } catch {
    return undefined;
  }
}

/** Returns a store in the browser's storage: of the tab, or of all tabs and for longer. */
export function storeIn(where: "tab" | "browser", key: string): Store {
  const store = () => storage(where === "tab" ? "sessionStorage" : "localStorage");
  return {
    load: () => store()?.getItem(key),
    save: (place) => store()?.setItem(key, place),
  };
}
