// What a program does with the types that openapi-typescript makes of docs/openapi.json. It must compile; nothing runs it.
import type { components, paths } from "./api";

type Schemas = components["schemas"];
type Json<Response> = Response extends { content: { "application/json": infer Body } } ? Body : never;

/** The data of a control event. */
export function reason(event: Schemas["ExpiredEvent"]): string {
  const kind: "expired" = event.event;
  const data: Schemas["Expired"] = JSON.parse(event.data);
  return `${kind}: ${data.reason}`;
}

/** The events of a page of history. */
export function types(page: Json<paths["/v1/channels/{channel}/events"]["get"]["responses"][200]>): string[] {
  return page.events.map((event) => event.type);
}

export const event: Schemas["NewEvent"] = { channel: "room:7", data: { order: 7 }, key: "order-7" };

// @ts-expect-error: an event has data.
export const without: Schemas["NewEvent"] = { channel: "room:7" };

/** What a program compares. */
export function isExpired(problem: Schemas["Problem"]): boolean {
  return problem.code === "expired-token" && problem.status === 401;
}
