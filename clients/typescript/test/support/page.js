// What the pages of the browser tests use.

export { connect, createClient } from "../../dist/index.js";
export { tabs } from "../../dist/tabs.js";
