// The recipes that recipes.test.js follows. The table in docs/recipes/README.md says the same.

/** Servers, each with a page of its own in Chromium. */
export const servers = ["express.md", "fastapi.md", "django.md", "go.md"];
/** The same, for `scripts/test recipes-long`: those that take longest to install and to start. */
export const longServers = ["nextjs.md", "rails-turbo.md", "spring.md"];
/** Pages in Chromium, with the server of `backend`. */
export const browserClients = ["react.md", "vue.md", "svelte.md", "htmx.md", "turbo.md"];
/** Clients with the server of `backend`. */
export const clients = ["vanilla.md", "python.md", ...browserClients];
/** Programs that need no server but the node. */
export const programs = ["curl.md"];
export const backend = "express.md";
