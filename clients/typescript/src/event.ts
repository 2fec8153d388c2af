/** An event. */
export interface FanfareEvent<Data = unknown, Type extends string = string> {
  /** `message` if the publisher gave no type. */
  readonly type: Type;
  /** What `parse` made of the event's text. */
  readonly data: Data;
  readonly channel: string;
  /** Position in the channel; absent for an ephemeral event. */
  readonly id?: string | undefined;
  /** Unix time of the event, in milliseconds. */
  readonly time: number;
  /** Cursor after this event: where another stream continues. */
  readonly cursor: string;
}

/** The events of a map of types to data, as a union that `type` tells apart. */
export type EventOf<Events extends object> = {
  [Type in keyof Events & string]: FanfareEvent<Events[Type], Type>;
}[keyof Events & string];

/** Events may be missing: reload the state that is derived from the channel. */
export interface Gap {
  /** Absent if the client's place is unknown: then it applies to every channel. */
  readonly channel?: string | undefined;
  /** The client's position in the channel: events after it may be missing. */
  readonly after?: string | undefined;
}

/** An event as it came, before `parse`. */
export type RawEvent = FanfareEvent<string>;

/** What moves a client's place: an event, a gap, or the cursor alone. */
export interface Item {
  readonly cursor: string;
  readonly event?: RawEvent;
  readonly gap?: Gap;
}
