// Installs what the recipes need, but for the long ones, which the test itself installs: node tests/recipes/build.js

import { backend, clients, servers } from "./pages.js";
import { Recipe } from "./recipe.js";

const recipes = [
  ...(await Promise.all(servers.map((page) => Recipe.read(page)))),
  ...(await Promise.all(clients.map((page) => Recipe.read(page, backend)))),
];
// One after the other: they share the caches of npm, pip, Go and Maven.
for (const recipe of recipes) await recipe.install();
